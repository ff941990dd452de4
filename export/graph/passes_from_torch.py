"""ONNX from a network that is applied from coarse to fine."""

from collections.abc import Mapping

import onnx
import torch
from torch import nn

from export.graph.deployable import DeployableCoarserPass, DeployableLastPass
from export.graph.operators import operators_called
from export.graph.passes import add_coarser_passes, flow_of_pass, images_halved
from export.graph.standard_operators import in_standard_operators
from export.graph.torch_export import example, export
from training.networks.entry import FLOW, IMAGES, Port
from training.networks.upsampling import upsample_matmul


def passes_from_torch(
    network: nn.Module, normalisation: nn.Module, passes: int, *, metadata: Mapping[str, str]
) -> onnx.ModelProto:
    """Export all passes in one graph.

    Two passes are traced, the last one and one of the others, of which each gets a copy: with
    symbolic sizes, tracing three in a row takes much longer than three times that of one.

    Args:
        network: a `CoarseToFineFlowNetS`, or its `HalfNetwork`; on the CPU.
        normalisation: a module of `training.normalise`.
        passes: the network's number of them, at least 2.
        metadata: as for `export.graph.onnx_from_torch.onnx_from_torch`.

    Returns:
        A model as that function's.
    """
    last = DeployableLastPass(network, normalisation, upsample_matmul)
    height, width = 2 * last.divisor, 3 * last.divisor
    smaller = (Port(images_halved(times), _axes(1 << times)) for times in range(3, passes + 2))
    with operators_called():
        model = export(
            last,
            {
                IMAGES[0]: example(height, width, 64),
                IMAGES[1]: example(height, width, 192),
                Port(flow_of_pass(2), _axes(16)): torch.zeros(2, 2, height // 16, width // 16),
            },
            (*FLOW, *smaller),
            metadata=metadata,
        )
        # Sides that become odd when halved: the graph is for all of them.
        height, width = 80, 112
        dtype = next(network.parameters()).dtype
        coarser = export(
            DeployableCoarserPass(network),
            {
                Port("halved", _axes(2)): torch.zeros(2, 6, height // 2, width // 2, dtype=dtype),
                Port("so_far", _axes(8)): torch.zeros(2, 2, height // 8, width // 8),
            },
            [Port("handed_on", _axes(4))],
        )
    add_coarser_passes(model, coarser, passes)
    return in_standard_operators(model)


def _axes(stride: int) -> tuple[str, str, str, str]:
    return ("batch", "", f"height / {stride}", f"width / {stride}")
