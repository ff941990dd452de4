"""Options of the verbs that draw flow."""

import argparse

from engine.system.argument_types import positive_float


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the colours."""
    group = parser.add_argument_group("colours")
    group.add_argument(
        "--scale",
        type=positive_float,
        metavar="PX",
        help="magnitude that gets the full colour (default: the 99th percentile of all "
        "magnitudes, at least 1 px)",
    )
    group.add_argument("--no-legend", action="store_true", help="leave the colour wheel out")


def describe(scale: float) -> str:
    """Return what a colour means, for a summary."""
    return f"full colour at {scale:.3g} px (--scale {scale:.3g} repeats it)"
