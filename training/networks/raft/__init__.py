"""RAFT (Teed and Deng, ECCV 2020, arXiv 2003.12039), large and small.

Module names are those of the published checkpoints (princeton-vl/RAFT), without ``module.`` and
without the second name ``norm3`` of ``downsample.1``.
"""

from training.networks.raft.network import RAFT, raft_large, raft_small

__all__ = ["RAFT", "raft_large", "raft_small"]
