"""The two CPU runtimes, used directly: the graph alone, without the engine around it."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import openvino
import pytest

from engine.backends.openvino.runtime import core_of
from tests.support.cpu import needs_int8

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]
Runner = Callable[[UInt8Array, UInt8Array], Float32Array]


def with_onnxruntime(model: onnx.ModelProto) -> Runner:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return lambda image1, image2: session.run(["flow"], {"image1": image1, "image2": image2})[0]


def with_openvino(model: onnx.ModelProto) -> Runner:
    core = core_of(openvino)
    compiled = core.compile_model(
        core.read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    return lambda image1, image2: compiled({"image1": image1, "image2": image2})["flow"].copy()


def as_written(model: onnx.ModelProto) -> Runner:
    """ONNX Runtime without fusions: int8 is rounded in float, node by node, on every CPU."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda image1, image2: session.run(["flow"], {"image1": image1, "image2": image2})[0]


RUNTIMES = [with_onnxruntime, with_openvino]
INT8_RUNTIMES = [
    as_written,
    with_onnxruntime,
    pytest.param(with_openvino, marks=needs_int8),
]


def in_openvino_up_to(
    isa: str, model: onnx.ModelProto, inputs: Mapping[str, npt.NDArray[Any]], folder: Path
) -> Float32Array:
    """With the kernels of CPUs that have no more; oneDNN asks for the limit once in a process."""
    onnx.save(model, folder / "model.onnx")
    np.savez(folder / "inputs.npz", **inputs)
    script = """
import numpy as np, openvino
settings = {"INFERENCE_PRECISION_HINT": "f32"}
compiled = openvino.Core().compile_model("model.onnx", "CPU", settings)
np.save("outputs.npy", compiled(dict(np.load("inputs.npz")))[0])
"""
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": isa}
    subprocess.run([sys.executable, "-c", script], cwd=folder, env=environment, check=True)
    outputs: Float32Array = np.load(folder / "outputs.npy")
    return outputs


def random_images(batch: int, height: int, width: int) -> tuple[UInt8Array, UInt8Array]:
    generator = np.random.default_rng(0)
    image1, image2 = generator.integers(0, 256, (2, batch, height, width, 3), dtype=np.uint8)
    return image1, image2


def distance(flow: np.ndarray, expected: np.ndarray) -> float:
    """Relative to how long the vectors are."""
    lengths = np.linalg.norm(expected, axis=-1).mean()
    return float(np.linalg.norm(flow - expected, axis=-1).mean() / lengths)
