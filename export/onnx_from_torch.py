"""ONNX from a deployable network."""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping

import onnx
import torch
from torch.export import Dim

from export.deployable import Deployable

# The oldest opset of torch's exporter that all our runtimes read, TensorRT 10 of Jetson included.
OPSET = 18


def onnx_from_torch(deployable: Deployable, *, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """Export a network, with batch, height and width left open.

    Args:
        deployable: the network to export; on the CPU.
        metadata: written into the file's ``metadata_props``.

    Returns:
        A checked model: ``image1``, ``image2`` uint8 (batch, height, width, 3) in, ``flow``
        float32 (batch, height, width, 2) out.
    """
    # Tracing must not see sizes that could be mistaken for each other or for a constant, and two
    # images that are one tensor would become one input.
    shape = (2, 2 * deployable.divisor, 3 * deployable.divisor, 3)
    image1, image2 = (torch.full(shape, value, dtype=torch.uint8) for value in (64, 192))
    axes = {
        0: Dim("batch"),
        1: deployable.divisor * Dim("rows"),
        2: deployable.divisor * Dim("columns"),
    }
    with _quiet_exporter(), torch.no_grad():
        program = torch.onnx.export(
            deployable.eval(),
            (image1, image2),
            input_names=["image1", "image2"],
            output_names=["flow"],
            dynamic_shapes=(axes, axes),
            opset_version=OPSET,
            dynamo=True,
            optimize=True,
            verbose=False,
        )
    if program is None:  # only when torch.onnx.export writes a file itself
        raise RuntimeError("torch.onnx.export returned no model")
    model = program.model_proto
    _tidy(model)
    onnx.helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    return model


def _tidy(model: onnx.ModelProto) -> None:
    """Name the open axes, and drop what only describes the exporting machine's source files."""
    for value in (*model.graph.input, *model.graph.output):
        axes = value.type.tensor_type.shape.dim
        for axis, name in zip(axes[:3], ("batch", "height", "width"), strict=True):
            axis.dim_param = name
    for item in (model.graph, *model.graph.node, *model.graph.input, *model.graph.output,
                 *model.graph.initializer):  # fmt: skip
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    model.graph.ClearField("value_info")


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence what torch's exporter says about itself: missing torchvision, deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
