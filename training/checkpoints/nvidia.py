"""NVIDIA/flownet2-pytorch, models.py and networks/: the names of this project's FlowNets."""

from training.checkpoints.layout import Layout, named_alike

FLOWNETS = ("flownets", "flownetc", "flownetsd", "flownetcs", "flownetcss", "flownet2")
THIN = ("flownets_slim", "flownetc_slim")

NVIDIA = Layout(
    publisher="NVIDIA/flownet2-pytorch",
    networks=(*FLOWNETS, *THIN),
    normalisation="pair_mean",
    # README of NVIDIA/flownet2-pytorch: converted from Caffe; README of lmb-freiburg/flownet2.
    licence="research purposes only, if published by NVIDIA (converted from the authors' Caffe "
    "models)",
    origins=lambda _, shapes: named_alike(shapes),
    notes={
        "flownetsd": "NVIDIA multiplies the flow of FlowNet2SD by 20, other code bases divide it: "
        "check the error on a data set",
    },
)
