"""ONNX from a deployable network, whole or in two graphs."""

from collections.abc import Mapping

import onnx
import torch
from torch import nn

from export.graph.deployable import Deployable, DeployableFeatures, DeployableMatch
from export.graph.operators import operators_called
from export.graph.standard_operators import in_standard_operators
from export.graph.torch_export import TranslationTable, example, export
from kernels import onnx_ops
from training.networks.entry import FEATURES, FLOW, IMAGE, IMAGES, MATCH
from training.networks.upsampling import upsample_matmul


def onnx_from_torch(
    deployable: Deployable,
    *,
    metadata: Mapping[str, str],
    translation_table: TranslationTable | None = None,
) -> onnx.ModelProto:
    """Export a network with dynamic batch, height and width.

    Args:
        deployable: the network to export; on the CPU.
        metadata: written into the file's ``metadata_props``.
        translation_table: ONNX functions for custom operators; default: the correlation in standard
            operators.

    Returns:
        A checked model: ``image1``, ``image2`` uint8 (batch, height, width, 3) in, ``flow``
        float32 (batch, height, width, 2) out.
    """
    # Two different tensors: the same one twice would become one input.
    size = 2 * deployable.divisor, 3 * deployable.divisor
    images = example(*size, 64), example(*size, 192)
    with operators_called():
        model = export(
            deployable,
            dict(zip(IMAGES, images, strict=True)),
            FLOW,
            metadata=metadata,
            table=onnx_ops.translation_table() if translation_table is None else translation_table,
        )
    return in_standard_operators(model)


def two_graphs_from_torch(
    network: nn.Module, normalisation: nn.Module, *, metadata: Mapping[str, str]
) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Export a `SiameseNetwork` as two graphs: features of one image, and flow from features.

    Args:
        network: the network, or its `HalfNetwork`; on the CPU.
        normalisation: one with a method ``alone`` for a single image.
        metadata: written into both files' ``metadata_props``.

    Returns:
        Two checked models: ``image`` uint8 (batch, height, width, 3) in, ``skip`` and ``features``
        out; and ``skip``, ``features1``, ``features2`` in, ``flow`` out, as `onnx_from_torch`.
    """
    table = onnx_ops.translation_table()
    alone = DeployableFeatures(network, normalisation)
    image = example(2 * alone.divisor, 3 * alone.divisor, 64)
    with torch.no_grad():
        skip, features = alone(image)
    maps = skip, features, features.clone()
    return (
        export(alone, {IMAGE[0]: image}, FEATURES, metadata=metadata, table=table),
        export(
            DeployableMatch(network, normalisation, upsample_matmul),
            dict(zip(MATCH, maps, strict=True)),
            FLOW,
            metadata=metadata,
            table=table,
        ),
    )
