"""The fastest matrix products of this machine's CPU, in fp32 and in int8.

``python -m bench.machine.peaks`` prints them as JSON: ``fp32_gflops`` and ``int8_gops``, 1e9
operations per second (null where not measured), and ``how``: the operator and package of each, or
why there is none. Candidates are numpy's matrix product, and OpenVINO's matrix product and 3x3
convolution with constant weights. They are interleaved, and the fastest sample counts. OpenVINO's
performance counters tell the precision that it ran in.
"""

import argparse
import importlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from bench.environment import ModuleError, run_module
from bench.harness.interleave import interleave
from bench.harness.stats import timed_ms
from engine.backends.openvino.runtime import core_of, import_openvino, version_of
from engine.errors import BackendError, one_line
from engine.system.argument_types import positive_float, positive_int
from engine.system.command import run
from engine.system.cpu import amx_fault
from engine.system.threads import available_threads

ROUNDS = 5
PEAKS = {"fp32": "fp32_gflops", "int8": "int8_gops"}
# Shapes of data and weights. A call takes a few milliseconds in either precision: short enough to
# be undisturbed now and then on a busy machine. Sums are long, so that writing the result takes
# little time; the feature map includes its border, so that no padding is counted.
SHAPES = {
    ("MatMul", "fp32"): ((256, 2048), (2048, 512)),
    ("MatMul", "int8"): ((512, 4096), (4096, 512)),
    ("Convolution", "fp32"): ((1, 256, 26, 26), (256, 256, 3, 3)),
    ("Convolution", "int8"): ((1, 512, 26, 26), (512, 512, 3, 3)),
}
# Node types of the two operators in OpenVINO's CPU plugin.
NODES = ("Convolution", "FullyConnected", "MatMul")
# Suffixes of the names of kernels of each precision.
KERNELS = {"fp32": ("f32",), "int8": ("i8", "u8")}


@dataclass
class Product:
    """A product to time: ``operations`` per call, ``samples`` in ms per call."""

    precision: str
    how: str
    operations: int
    call: Callable[[], Any]
    samples: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """The highest rate so far, in 1e9 operations per second."""
        return self.operations / min(self.samples) / 1e6


def measure_peaks(*, threads: int, seconds: float) -> dict[str, Any]:
    """Measure in a process of its own, as each row; return this module's JSON object."""
    given = ["--threads", str(threads), "--seconds", str(seconds)]
    try:
        # numpy reads the variable once, when its thread pool starts.
        output = run_module("bench.machine.peaks", *given, OMP_NUM_THREADS=str(threads))
    except ModuleError as error:
        return not_measured(str(error))
    found: dict[str, Any] = json.loads(output)
    return found


def not_measured(reason: str) -> dict[str, Any]:
    """Return the JSON object of a run without peaks."""
    return {**dict.fromkeys(PEAKS.values()), "how": dict.fromkeys(PEAKS, reason)}


def highest(*found: dict[str, Any]) -> dict[str, Any]:
    """Combine several such objects: the highest rate of each precision."""
    result = not_measured("")
    for precision, key in PEAKS.items():
        best = max(found, key=lambda one: one[key] or 0.0)
        result[key], result["how"][precision] = best[key], best["how"][precision]
    return result


def peaks(*, threads: int, seconds: float) -> dict[str, Any]:
    """Measure in this process, for ``seconds`` in addition to the time of opening."""
    found = not_measured("")
    products = [numpy_product()]
    for operator, precision in SHAPES:
        try:
            products.append(openvino_product(operator, precision, threads=threads))
        except BackendError as error:
            found["how"][precision] = str(error)
    interleave(
        products,
        lambda product, share: product.samples.extend(timed_ms(product.call, seconds=share)),
        rounds=ROUNDS,
        seconds=seconds / len(products),
        progress=lambda _: None,
    )
    # In ascending order: the fastest product of each precision is the last one assigned.
    for product in sorted(products, key=lambda product: product.rate):
        precision = product.precision
        found[PEAKS[precision]], found["how"][precision] = product.rate, product.how
    return found


def numpy_product() -> Product:
    rng = np.random.default_rng(0)
    one, other = (rng.standard_normal(shape, np.float32) for shape in SHAPES["MatMul", "fp32"])
    call = partial(np.matmul, one, other, out=np.empty((len(one), other.shape[1]), np.float32))
    call()
    how = f"matmul {_times(one.shape, other.shape)} in numpy {np.__version__}"
    return Product("fp32", how, 2 * one.size * other.shape[1], call)


def openvino_product(operator: str, precision: str, *, threads: int) -> Product:
    """Compile one operator with the settings of the engine's backend.

    Args:
        operator: ``MatMul`` or ``Convolution``.
        precision: ``fp32`` or ``int8``; that is uint8 data and int8 weights.
        threads: CPU threads.

    Raises:
        BackendError: OpenVINO is not installed, does not take the operator, or computes it in
            another precision; or the CPU cannot compute int8 correctly.
    """
    openvino = import_openvino()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,
        "PERF_COUNT": True,
    }
    runtime, shapes = f"OpenVINO {version_of(openvino)}", SHAPES[operator, precision]
    if precision == "int8" and (fault := amx_fault()):
        raise BackendError(f"{runtime} does not run {operator} in int8: {fault}.")
    data = np.random.default_rng(0).integers(0, 256, shapes[0], np.uint8)
    try:
        model, operations = _model(openvino, operator, precision)
        request = core_of(openvino).compile_model(model, "CPU", settings).create_infer_request()
        inputs = [data if precision == "int8" else data.astype(np.float32)]
        call = partial(request.infer, inputs, share_inputs=True)
        call()
        nodes = {node.node_type: node.exec_type for node in request.profiling_info}
    except RuntimeError as error:
        raise BackendError(
            f"{runtime} cannot run {operator} in {precision}: {one_line(error)}."
        ) from error
    kernel = next(nodes[name] for name in nodes if name.startswith(NODES))
    if not kernel.lower().endswith(KERNELS[precision]):
        raise BackendError(f"{runtime} runs {operator} as {kernel} here, which is not {precision}.")
    how = f"{operator} {_times(*shapes)} in {runtime}, {kernel}"
    return Product(precision, how, operations, call)


def _model(openvino: Any, operator: str, precision: str) -> tuple[Any, int]:
    """Return a model of one operator with constant weights, and its number of operations.

    In int8, data are uint8 and weights 7-bit with one scale per output channel.
    """
    ops = importlib.import_module("openvino.opset13")
    data_shape, weights_shape = SHAPES[operator, precision]
    outputs = 1 if operator == "MatMul" else 0  # axis of the output channels in the weights
    values = np.random.default_rng(1).integers(-64, 64, weights_shape, np.int8)
    if precision == "int8":
        source = ops.parameter(data_shape, np.uint8)
        low, high = np.float32(0), np.float32(255)
        data = ops.fake_quantize(ops.convert(source, "f32"), low, high, low, high, 256)
        scale_shape = [size if axis == outputs else 1 for axis, size in enumerate(weights_shape)]
        scales = np.full(scale_shape, 0.5, np.float32)
        weights = ops.multiply(ops.convert(ops.constant(values), "f32"), ops.constant(scales))
    else:
        source = data = ops.parameter(data_shape, np.float32)
        weights = ops.constant(values.astype(np.float32) / 2)
    if operator == "MatMul":
        result = ops.matmul(data, weights, False, False)
    else:
        result = ops.convolution(data, weights, [1, 1], [0, 0], [0, 0], [1, 1])
    per_value = math.prod(weights_shape) // weights_shape[outputs]
    return openvino.Model([result], [source]), 2 * math.prod(result.shape) * per_value


def _times(*shapes: tuple[int, ...]) -> str:
    return " by ".join("x".join(map(str, shape)) for shape in shapes)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the CPU's matrix products; print JSON.")
    parser.add_argument("--threads", type=positive_int, default=available_threads(), metavar="N")
    parser.add_argument("--seconds", type=positive_float, default=3.0, metavar="S")
    options = parser.parse_args()
    print(json.dumps(peaks(threads=options.threads, seconds=options.seconds)))
    return 0


if __name__ == "__main__":
    run(main)
