"""Weights files of this project: safetensors whose header says what they are."""

from collections.abc import Mapping

from training.checkpoints.files import Contents
from training.checkpoints.layout import Layout, named_alike
from training.networks.registry import NETWORKS

PUBLISHER = "flownet-engine"


def is_own(contents: Contents) -> bool:
    """Whether a file has a header of this project."""
    header = contents.facts
    return contents.container == "safetensors" and {"network", "normalisation"} <= header.keys()


def own_layout(header: Mapping[str, str]) -> Layout:
    """Return the layout that a header describes."""
    return Layout(
        publisher=PUBLISHER,
        networks=tuple(name for name in NETWORKS if name == header["network"]),
        normalisation=header["normalisation"],
        licence=header.get("licence", "unknown"),
        origins=lambda _, shapes: named_alike(shapes),
        upsampling={header["network"]: header["upsampling"]} if "upsampling" in header else {},
    )
