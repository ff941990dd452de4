"""ClementPinard/FlowNetPytorch, models/: FlowNetS and FlowNetC, with or without batch norm.

The names are NVIDIA's. Flow heads, deconvolutions and, in FlowNetC, upsampling layers have no bias.
"""

import re

from training.checkpoints.folding import without_batch_norm
from training.checkpoints.layout import Layout, Origins, Shapes, named_alike, zeros

_NETWORKS = ("flownets", "flownetc", "flownets_slim", "flownetc_slim")
_WITHOUT_BIAS = ("predict_flow", "deconv", "upsampled_flow")


def _without_bias(_: str, shapes: Shapes) -> Origins:
    return named_alike(shapes) | {
        name: zeros(shape, "biases that this layout does not have: zero")
        for name, shape in shapes.items()
        if name.endswith("bias") and name.startswith(_WITHOUT_BIAS)
    }


def _with_batch_norm(network: str, shapes: Shapes) -> Origins:
    origins = _without_bias(network, shapes)
    for name, shape in shapes.items():
        if match := re.fullmatch(r"(conv\w+)\.0\.weight", name):
            origins |= without_batch_norm(f"{match[1]}.0", f"{match[1]}.1", shape)
    return origins


PINARD = Layout(
    publisher="ClementPinard/FlowNetPytorch",
    networks=_NETWORKS,
    normalisation="fixed_mean",
    licence="MIT, if published by Clement Pinard",
    origins=_without_bias,
    # README.md, "Note on networks from caffe"; nothing in flownets_from_caffe.pth tells.
    bgr_files="from_caffe",
    notes={
        "flownets": "flownets_from_caffe.pth reads BGR, which only its name tells: if it was "
        "renamed, give --color BGR",
    },
)
PINARD_BN = Layout(
    publisher="ClementPinard/FlowNetPytorch, batch norm",
    networks=_NETWORKS,
    normalisation=PINARD.normalisation,
    licence=PINARD.licence,
    origins=_with_batch_norm,
    ignored=(r".*\.num_batches_tracked",),
)
