"""Networks: PyTorch modules, and a registry with one entry per name."""

from training.networks.registry import NETWORKS, build_network, network_entry

__all__ = ["NETWORKS", "build_network", "network_entry"]
