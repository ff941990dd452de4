"""The bundle inside this package, and its name in commands."""

from pathlib import Path

DEFAULT_BUNDLE = Path(__file__).parent / "default"
# Of an argument that takes a bundle.
HELP = "folder of a bundle, or `default`, the one that ships"


def bundle_named(text: str) -> Path:
    """Return the folder of the bundle that ships for its name; any other text is a path.

    ``./default`` is a folder, ``default`` the name.
    """
    return DEFAULT_BUNDLE if text == DEFAULT_BUNDLE.name else Path(text)
