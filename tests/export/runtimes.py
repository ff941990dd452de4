"""The two CPU runtimes, used directly: the graph alone, without the engine around it."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import openvino

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]
Runner = Callable[[UInt8Array, UInt8Array], Float32Array]


def with_onnxruntime(model: onnx.ModelProto) -> Runner:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return lambda image1, image2: session.run(["flow"], {"image1": image1, "image2": image2})[0]


def with_openvino(model: onnx.ModelProto) -> Runner:
    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    return lambda image1, image2: compiled({"image1": image1, "image2": image2})["flow"].copy()


RUNTIMES = [with_onnxruntime, with_openvino]


def random_images(batch: int, height: int, width: int) -> tuple[UInt8Array, UInt8Array]:
    generator = np.random.default_rng(0)
    image1, image2 = generator.integers(0, 256, (2, batch, height, width, 3), dtype=np.uint8)
    return image1, image2
