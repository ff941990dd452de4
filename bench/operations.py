"""How many operations a bundle's network takes for a batch of pairs, counted in its ONNX.

``python -m bench.operations BUNDLE --size 384x512 --batch 1`` prints the number, for the parent
process, which loads no runtime: the multiplications and additions of all convolutions, at the
padded size. What else there is depends on how the export writes it, and is small (the correlation
of ``flownetc_slim``: 5 % more), so a row does a little more than is counted.
"""

import argparse
import importlib.util
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.cli import count, size
from bench.environment import USAGE_ERROR, run_module
from bench.harness.plan import OPENVINO
from engine.backends.onnx_graphs import FEATURES, MATCH, SPLIT, WHOLE
from engine.backends.openvino.session import import_openvino
from engine.bundle.manifest import read_manifest
from engine.errors import BackendError, EngineError
from engine.images import padded_size

Shapes = Mapping[str, list[int]]


def count_operations(bundle: Path, *, height: int, width: int, batch: int) -> int:
    """Count in a process of its own.

    Raises:
        RuntimeError: they cannot be counted.
    """
    chosen = ["--size", f"{height}x{width}", "--batch", str(batch)]
    return int(run_module("bench.operations", str(bundle), *chosen))


def operations_of(bundle: Path, *, height: int, width: int, batch: int) -> int:
    """Operations of the whole network; of two graphs, the first one runs for each image.

    Raises:
        BackendError: OpenVINO, which knows every operator's shapes, is not installed; or the bundle
            has no ONNX.
        BundleError: it is none.
    """
    if importlib.util.find_spec("openvino") is None:
        raise BackendError(f"openvino is not installed: pip install {OPENVINO[1]}")
    manifest = read_manifest(bundle)
    image = [batch, *padded_size(height, width, manifest.divisor), 3]
    if WHOLE in manifest.files:
        return operations_in(_model(bundle / WHOLE, {"image1": image, "image2": image}))
    if not set(manifest.files).issuperset(SPLIT):
        raise BackendError(f"{bundle} has no {WHOLE}, of which operations could be counted.")
    features = _model(bundle / FEATURES, {"image": image})
    shapes = {output.any_name: list(output.shape) for output in features.outputs}
    both = dict.fromkeys(("features1", "features2"), shapes["features"])
    inputs = {"skip": shapes["skip"], **both}
    return 2 * operations_in(features) + operations_in(_model(bundle / MATCH, inputs))


def operations_in(model: Any) -> int:
    """Of one OpenVINO model, whose shapes are all known."""
    return 2 * sum(_multiplications(node) for node in model.get_ops())


def _model(path: Path, shapes: Shapes) -> Any:
    model = import_openvino().Core().read_model(str(path))
    model.reshape(dict(shapes))
    return model


def _multiplications(node: Any) -> int:
    """Those of one operator, with the zeros of its padding.

    Weights are (output channels, input channels, H, W). A transposed convolution's are (input
    channels, output channels, H, W): each of its input values meets all taps of all outputs. A
    grouped one's have the groups in front (OpenVINO's operation specifications).
    """
    kind = node.get_type_name()
    if kind in ("Convolution", "GroupConvolution"):
        values = node.output(0)
    elif kind in ("ConvolutionBackpropData", "GroupConvolutionBackpropData"):
        values = node.input_value(0)
    else:
        return 0
    per_value = node.input_value(1).shape[2 if kind.startswith("Group") else 1 :]
    return math.prod(map(int, values.shape)) * math.prod(map(int, per_value))


def main() -> int:
    parser = argparse.ArgumentParser(description="Count the operations of a bundle's network.")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--size", type=size, required=True, metavar="HxW")
    parser.add_argument("--batch", type=count, default=1, metavar="N")
    options = parser.parse_args()
    height, width = options.size
    try:
        found = operations_of(options.bundle, height=height, width=width, batch=options.batch)
    except (EngineError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE_ERROR
    print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
