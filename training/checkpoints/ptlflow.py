"""hmorimitsu/ptlflow: NVIDIA's FlowNets and princeton-vl's RAFT as Lightning checkpoints.

Its published files are those of the two repositories, re-saved under the same names
(docs/source/models/checkpoint_list.csv).
"""

from dataclasses import replace

from training.checkpoints.nvidia import NVIDIA
from training.checkpoints.princeton import PRINCETON

_OWN_MEAN = (
    "ptlflow subtracts each image's own mean colour; here, as at NVIDIA's, the mean is the pair's"
)
_MASK = f"{_OWN_MEAN}. It blanks what a warp takes from outside of the image; here the border is \
repeated"

PTLFLOW = replace(
    NVIDIA,
    publisher="hmorimitsu/ptlflow",
    licence="research purposes only, if published by ptlflow (WEIGHTS_LICENSE)",
    notes={
        "": _OWN_MEAN,
        "flownetcs": _MASK,
        "flownetcss": _MASK,
        "flownet2": _MASK,
        "flownetsd": f"{_OWN_MEAN}. It divides the flow of FlowNetSD by 20; here, as at NVIDIA's, "
        "it is multiplied",
    },
)
PTLFLOW_RAFT = replace(
    PRINCETON,
    publisher="hmorimitsu/ptlflow, RAFT",
    licence="BSD-3-Clause, if published by princeton-vl and re-saved by ptlflow",
)
