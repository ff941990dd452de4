"""A network of one matrix, which a real TensorRT plan is built from in a second."""

import importlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from engine.backends.tensorrt.package import message_log


def write_onnx(path: Path, *, half: bool = False, channels: int = 6) -> Path:
    """Write a network of the deployable signature: both images, cast, through one 1x1 matrix."""
    kind, dtype = (TensorProto.FLOAT16, np.float16) if half else (TensorProto.FLOAT, np.float32)
    axes = ["batch", "height", "width"]
    matrix = np.random.default_rng(0).normal(size=(channels, 2)).astype(dtype)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image1"], ["a"], to=kind),
            helper.make_node("Cast", ["image2"], ["b"], to=kind),
            helper.make_node("Concat", ["a", "b"], ["both"], axis=3),
            helper.make_node("MatMul", ["both", "matrix"], ["product"], name="head"),
            helper.make_node("Cast", ["product"], ["flow"], to=TensorProto.FLOAT),
        ],
        "tiny",
        [
            helper.make_tensor_value_info(name, TensorProto.UINT8, [*axes, 3])
            for name in ("image1", "image2")
        ],
        [helper.make_tensor_value_info("flow", TensorProto.FLOAT, [*axes, 2])],
        [onnx.numpy_helper.from_array(matrix, "matrix")],
    )
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def faults_of(plan: bytes) -> set[str]:
    """What the runtime holds against a plan's content; the GPU here (or none) does not count."""
    tensorrt_rtx = importlib.import_module("tensorrt_rtx")
    runtime = tensorrt_rtx.Runtime(message_log(tensorrt_rtx))
    _, diagnostics = runtime.get_engine_validity(plan)
    members = tensorrt_rtx.EngineInvalidityDiagnostics.__members__.items()
    found = {name for name, member in members if int(member) & int(diagnostics)}
    return found & {"MALFORMED_ENGINE", "VERSION_MISMATCH"}
