"""The bundles inside this package, and their names in commands."""

from pathlib import Path

DEFAULT_BUNDLE = Path(__file__).parent / "default"
SHIPPED_BUNDLES = (DEFAULT_BUNDLE,)
NAMES = tuple(bundle.name for bundle in SHIPPED_BUNDLES)
# Of an option that takes one.
HELP = f"folder of a bundle, or one that ships: {', '.join(NAMES)} (default: the first)"


def bundle_named(text: str) -> Path:
    """Return the folder of a bundle that ships, by its name; any other text is a path.

    ``./default`` is a folder, ``default`` a name.
    """
    return DEFAULT_BUNDLE.with_name(text) if text in NAMES else Path(text)
