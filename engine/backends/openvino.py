"""OpenVINO on the CPU."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.backends import available_threads, import_runtime, model_file, one_line
from engine.errors import BackendError
from engine.manifest import Manifest, SizeProfile


class OpenVINOBackend:
    """``model.onnx`` compiled for the CPU, for latency."""

    name = "openvino"
    device = "cpu"
    profile: SizeProfile | None = None

    def __init__(
        self, bundle: Path, manifest: Manifest, *, device: int, threads: int | None
    ) -> None:
        """Compile the model for ``threads`` CPU threads; ``device`` has no meaning here."""
        openvino = import_runtime("openvino", self.name, install="pip install openvino")
        self.runtime_version = str(openvino.__version__).split("-")[0]
        model = model_file(bundle, manifest, "model.onnx", self.name)
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads or available_threads(),
            # The default is bfloat16 where the CPU has it. The graph says where fp16 is meant.
            "INFERENCE_PRECISION_HINT": "f32",
            # On by default, and then two processes with one thread each share one core.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            self._compiled = openvino.Core().compile_model(str(model), "CPU", settings)
        except RuntimeError as error:
            raise BackendError(
                f"openvino {self.runtime_version} cannot load {model}: {one_line(error)}"
            ) from error
        # Idle requests. A request is one thread's at a time, so there are as many as threads that
        # ever ran at once. append and pop of a list are atomic.
        self._requests: list[Any] = []

    def run(self, image1: NDArray[np.uint8], image2: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``Backend.run``."""
        try:
            request = self._requests.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        inputs = {"image1": image1, "image2": image2}
        try:
            # The images are read in place; the output is the request's, so it is copied, once.
            flow: NDArray[np.float32] = request.infer(inputs, share_inputs=True)["flow"]
        finally:
            self._requests.append(request)
        return flow

    def device_ms(self) -> None:
        """Return None: the host is the device."""

    def close(self) -> None:
        """Free the model and its requests."""
        self._requests.clear()
        del self._compiled
