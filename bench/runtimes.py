"""The engine as a contestant, and its runtimes without it."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import engine
from bench.worker import Job
from engine.errors import BackendError

Images = NDArray[np.uint8]
Flows = NDArray[np.float32]


class EngineRunner:
    """``FlowEngine.infer`` as a user calls it: any size, checked, padded, cropped."""

    def __init__(self, job: Job) -> None:
        self._engine = engine.load(_bundle(job), backend=job.backend, threads=job.threads)
        self.device = self._engine.backend.device
        self.runtime_version = self._engine.backend.runtime_version

    def run(self, image1: Images, image2: Images) -> Flows:
        return self._engine.infer(image1, image2)

    def device_ms(self) -> float | None:
        return self._engine.backend.device_ms()

    def close(self) -> None:
        self._engine.close()


class BareOnnxRuntime:
    """A session with the engine's settings and nothing around it."""

    device = "cpu"

    def __init__(self, job: Job) -> None:
        import onnxruntime

        self.runtime_version = str(onnxruntime.__version__)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = job.threads
        settings.inter_op_num_threads = 1
        self._session: Any = onnxruntime.InferenceSession(
            str(_bundle(job) / "model.onnx"), settings, providers=["CPUExecutionProvider"]
        )

    def run(self, image1: Images, image2: Images) -> Flows:
        flow: Flows = self._session.run(["flow"], {"image1": image1, "image2": image2})[0]
        return flow

    def device_ms(self) -> None:
        return None

    def close(self) -> None:
        del self._session


class BareOpenVINO:
    """A compiled model with the engine's settings and nothing around it."""

    device = "cpu"

    def __init__(self, job: Job) -> None:
        import openvino

        self.runtime_version = str(openvino.__version__).split("-")[0]
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": job.threads,
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,
        }
        model = str(_bundle(job) / "model.onnx")
        compiled = openvino.Core().compile_model(model, "CPU", settings)
        self._request: Any = compiled.create_infer_request()

    def run(self, image1: Images, image2: Images) -> Flows:
        inputs = {"image1": image1, "image2": image2}
        flow: Flows = self._request.infer(inputs, share_inputs=True)["flow"]
        return flow

    def device_ms(self) -> None:
        return None

    def close(self) -> None:
        del self._request


def _bundle(job: Job) -> Path:
    if job.bundle is None:
        raise BackendError(f"no bundle for {job.network}; pass --bundle DIR.")
    return Path(job.bundle)
