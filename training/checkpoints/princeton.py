"""princeton-vl/RAFT, core/: the names of this project's RAFT."""

from training.checkpoints.layout import Layout, named_alike

RAFTS = ("raft_large", "raft_small")

PRINCETON = Layout(
    publisher="princeton-vl/RAFT",
    networks=RAFTS,
    normalisation="minus_one_to_one",
    licence="BSD-3-Clause, if published by princeton-vl",
    origins=lambda _, shapes: named_alike(shapes),
    # In extractor.py the third normalisation is also the second layer of `downsample`.
    ignored=(r"cnet\.layer[23]\.0\.norm3\..*",),
)
