"""The bundles inside this package."""

from pathlib import Path

DEFAULT_BUNDLE = Path(__file__).parent / "default"
ACCURATE_BUNDLE = DEFAULT_BUNDLE.with_name("accurate")  # less error, several times the time
SHIPPED_BUNDLES = (DEFAULT_BUNDLE, ACCURATE_BUNDLE)
