"""Weights files of this project: safetensors whose header says what they are."""

from collections.abc import Mapping

from training.checkpoints.files import Contents
from training.checkpoints.layout import Layout, named_alike
from training.checkpoints.stated import Stated
from training.networks.registry import NETWORKS

PUBLISHER = "flownet-engine"
METADATA_KEYS = (
    "network", "normalisation", "licence", "source", "data", "steps", "epe", "commit"
)  # fmt: skip
_FEWEST = 3  # keys by which a header is recognised, although others are missing


def is_own(contents: Contents) -> bool:
    """Whether a file has a header of this project, perhaps without some of its keys."""
    known = contents.facts.keys() & set(METADATA_KEYS)
    return contents.container == "safetensors" and (
        len(known) >= _FEWEST or {"network", "normalisation"} <= known
    )


def check_header(header: Mapping[str, str]) -> None:
    """Check that no key is missing.

    Raises:
        ValueError: one is.
    """
    missing = [key for key in METADATA_KEYS if key not in header]
    if missing:
        raise ValueError(
            f"its header lacks {', '.join(missing)}; expected a file written by "
            "`python -m training.train`"
        )


def check_stated(stated: Stated) -> None:
    """Check what a user states about such a file: its network reads RGB, in its own unit.

    Raises:
        ValueError: an option does not apply.
    """
    for option, value in (("--flow-scale", stated.flow_scale), ("--color", stated.color)):
        if value is not None:
            raise ValueError(
                f"{option} {value}: applies to checkpoints of others, and this is a file of this "
                "project; leave the option out, or give it with the checkpoint that the file was "
                "converted from"
            )


def own_layout(header: Mapping[str, str]) -> Layout:
    """Return the layout that a header describes."""
    return Layout(
        publisher=PUBLISHER,
        networks=tuple(name for name in NETWORKS if name == header["network"]),
        normalisation=header["normalisation"],
        licence=header["licence"],
        origins=lambda _, shapes: named_alike(shapes),
        is_own=True,
        upsampling={header["network"]: header["upsampling"]} if "upsampling" in header else {},
    )
