"""Facts about weights that a user states on the command line. Imports no PyTorch."""

import argparse
from dataclasses import dataclass, fields

from engine.system.argument_types import positive_float

# Of each of `training.normalise.NORMALISATIONS`, for values x of 0 to 255.
FORMULAS = {
    "fixed_mean": "x / 255 - the mean colour of Flying Chairs",
    "centred": "x / 255 - 1/2",
    "pair_mean": "(x - the mean colour of the pair) / 255",
    "minus_one_to_one": "2 x / 255 - 1",
    "zero_to_one": "x / 255",
}
COLOURS = ("RGB", "BGR")


@dataclass(frozen=True)
class Stated:
    """Facts that hold whatever a file says; None: as the file, or else its layout, says.

    Attributes:
        flow_scale: the network predicts pixels divided by it.
        normalisation: a key of ``FORMULAS``.
        color: order of the channels that the network reads, one of ``COLOURS``.
    """

    flow_scale: float | None = None
    normalisation: str | None = None
    color: str | None = None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add an option for each fact."""
    add = parser.add_argument
    add("--flow-scale", type=positive_float, metavar="D", help="the network of a checkpoint "
        "predicts pixels / D; default: what the file says, else the network's own")  # fmt: skip
    add("--normalisation", choices=FORMULAS, help="of the images; default: that of the "
        "checkpoint's layout")  # fmt: skip
    add("--color", choices=COLOURS, help="order of the channels that the network of a checkpoint "
        "reads; default: that of its layout")  # fmt: skip


def stated_by(options: object) -> Stated:
    """Return the facts among parsed options."""
    return Stated(**{field.name: getattr(options, field.name) for field in fields(Stated)})


def as_arguments(stated: Stated) -> str:
    """Return the options that state these facts, each after a space."""
    given = {name: value for name, value in vars(stated).items() if value is not None}
    return "".join(f" --{name.replace('_', '-')} {value}" for name, value in given.items())
