"""pytorch/vision, torchvision/models/optical_flow/raft.py."""

import re

from training.checkpoints.layout import Layout, Origin, Origins, Shapes, same
from training.checkpoints.princeton import RAFTS

# From the names here to torchvision's; all that match are applied, in this order.
_RULES = (
    (r"^fnet\.", "feature_encoder."),
    (r"^cnet\.", "context_encoder."),
    (r"_encoder\.conv1\.", "_encoder.convnormrelu.0."),
    (r"_encoder\.norm1\.", "_encoder.convnormrelu.1."),
    (r"_encoder\.conv2\.", "_encoder.conv."),
    (r"(layer\d\.\d)\.conv(\d)\.", r"\1.convnormrelu\2.0."),
    (r"(layer\d\.\d)\.norm(\d)\.", r"\1.convnormrelu\2.1."),
    (r"^update_block\.encoder\.conv\.", "update_block.motion_encoder.conv.0."),
    (r"^update_block\.encoder\.convc(\d)\.", r"update_block.motion_encoder.convcorr\1.0."),
    (r"^update_block\.encoder\.convf(\d)\.", r"update_block.motion_encoder.convflow\1.0."),
    (r"\.gru\.conv([zrq])([12])\.", r".recurrent_block.convgru\2.conv\1."),
    (r"\.gru\.", ".recurrent_block.convgru1."),
    (r"^update_block\.mask\.0\.", "mask_predictor.convrelu.0."),
    (r"^update_block\.mask\.2\.", "mask_predictor.conv."),
)


def _name(name: str) -> str:
    for pattern, replacement in _RULES:
        name = re.sub(pattern, replacement, name)
    return name


def _origins(_: str, shapes: Shapes) -> Origins:
    return {name: Origin({_name(name): shape}, same) for name, shape in shapes.items()}


TORCHVISION = Layout(
    publisher="torchvision",
    networks=RAFTS,
    normalisation="minus_one_to_one",
    licence="BSD-3-Clause, if published by torchvision",
    origins=_origins,
)
