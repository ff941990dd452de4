"""The ONNX Runtime backend on NVIDIA GPUs: the CUDA provider."""

import ctypes
import functools
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from engine.backends.base import Flows, Images
from engine.backends.model_files import model_file, read_onnx
from engine.backends.onnx_graphs import WHOLE
from engine.backends.onnxruntime.graphed_runs import GraphedRuns
from engine.backends.onnxruntime.session import FLOAT_INT8, open_session
from engine.backends.onnxruntime.slots import ConcurrentRuns, ExecutionSlot, Runs
from engine.backends.runtime_import import import_runtime
from engine.bundle.manifest import Manifest, SizeProfile
from engine.errors import BackendError, BackendNotInstalledError, HardwareMissingError
from engine.system.threads import available_threads

# All variants of the package share one folder: one installed over another breaks it, and
# uninstalling one removes files of the other.
REINSTALL = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install "
# Each slot has buffers for the activations of all layers.
MAX_SLOTS = 4


class OnnxRuntimeCudaBackend:
    """``model.onnx`` on ONNX Runtime's CUDA provider.

    Subclasses for other GPU providers set the class variables.

    Attributes:
        provider: ONNX Runtime's name of the provider.
        install: the shell command that installs it.
        memory: ONNX Runtime's name of the memory for inputs and output.
        graph_option: the provider option that turns CUDA graphs on.
        max_graphs: the number of sizes with a CUDA graph; each has a copy of the weights.
        config: session configuration entries.
        tuning: provider options that affect speed alone.
    """

    name = "onnxruntime-cuda"
    provider: ClassVar[str] = "CUDAExecutionProvider"
    install: ClassVar[str] = REINSTALL + '"onnxruntime-gpu[cuda,cudnn]"'
    memory: ClassVar[str] = "cuda"
    graph_option: ClassVar[str] = "enable_cuda_graph"
    max_graphs: ClassVar[int] = 4
    config: ClassVar[Mapping[str, str]] = FLOAT_INT8
    tuning: ClassVar[Mapping[str, Any]] = {}

    profile: SizeProfile | None

    def __init__(
        self,
        bundle: Path,
        manifest: Manifest,
        *,
        device: int,
        threads: int | None,
        streams: int,
        iterations: int | None = None,
    ) -> None:
        """Load the model onto a GPU.

        Args:
            bundle: the bundle's folder.
            manifest: the bundle's manifest.
            device: index of the GPU.
            threads: number of CPU threads; None: all that this process may use.
            streams: with 1, pairs run one after another, as CUDA graphs; with more, up to
                ``MAX_SLOTS`` pairs run concurrently, without CUDA graphs.
            iterations: updates of a recurrent network; None: the bundle's own number.

        Raises:
            BackendNotInstalledError: ONNX Runtime is missing, or has no such provider.
            HardwareMissingError: there is no such GPU, or the provider does not start on it.
            BackendError: the bundle has no ``model.onnx``, or it cannot be loaded.
            BundleError: the file has changed since it was checked.
        """
        ort = import_runtime("onnxruntime", self.name, install=self.install)
        if self.provider not in ort.get_available_providers():
            raise BackendNotInstalledError(
                f"backend {self.name} needs {self.provider}; the installed onnxruntime "
                f"{ort.__version__} has {', '.join(ort.get_available_providers())}. "
                f"Install it: {self.install}"
            )
        self.device = f"cuda:{device}"
        self.runtime_version = str(ort.__version__)
        in_float = manifest.precision == "int8" and self.config is FLOAT_INT8
        self.arithmetic: str = "float32: no int8 on a GPU" if in_float else manifest.precision
        # The two graphs of a split bundle would copy the features to the host and back.
        path = model_file(bundle, manifest, WHOLE, self.name)
        onnx = read_onnx(path, manifest.files[WHOLE])
        ort.preload_dlls()  # finds CUDA and cuDNN as installed by pip
        self.profile = self._profile(manifest)
        options = {"device_id": device, **self._options(manifest), **self.tuning}
        count = threads or available_threads()
        if manifest.recurrence is not None:
            streams = max(streams, 2)  # a Loop cannot be captured in a CUDA graph
        try:
            self._runs = self._open(
                ort, path, onnx, options, threads=count, streams=streams, iterations=iterations
            )
        except BackendError as error:
            if device < _gpu_count():
                raise
            raise HardwareMissingError(f"there is no GPU {device} here: {error}") from error

    def prepare(self, image: Images) -> Images:
        """Return the image."""
        return image

    def run(self, first: Images, second: Images) -> Flows:
        """See ``Backend.run``."""
        return self._runs.run(first, second)

    def device_ms(self) -> float | None:
        """See ``Backend.device_ms``."""
        return self._runs.device_ms()

    def close(self) -> None:
        """Free the sessions and their GPU memory."""
        self._runs.close()

    def _profile(self, manifest: Manifest) -> SizeProfile | None:
        return None

    def _options(self, manifest: Manifest) -> dict[str, Any]:
        # TF32 is on by default and has 10 bits of mantissa, fewer than fp32 promises.
        return {"use_tf32": int(manifest.precision != "fp32")}

    def _open(
        self,
        ort: ModuleType,
        path: Path,
        onnx: bytes,
        options: dict[str, Any],
        *,
        threads: int,
        streams: int,
        iterations: int | None,
    ) -> Runs:
        # No closure refers to `self`: the backend is then freed without garbage collection.
        provider, graph_option = self.provider, self.graph_option
        device = self.memory, options["device_id"]
        opened = functools.partial(
            open_session,
            ort,
            path,
            onnx,
            threads=threads,
            config=self.config,
            install=self.install,
            iterations=iterations,
        )

        def session(graphs: bool) -> Any:
            return opened(provider=(provider, {**options, graph_option: graphs}))

        if streams == 1:
            return GraphedRuns(
                lambda graphs: ExecutionSlot(ort, session(graphs), device), self.max_graphs
            )
        shared = session(False)
        slots = [ExecutionSlot(ort, shared, device) for _ in range(min(streams, MAX_SLOTS))]
        return ConcurrentRuns(slots)


def _gpu_count() -> int:
    """Return the number of GPUs of the NVIDIA driver; 0 without a driver.

    Distinguishes a missing GPU from a defective model.
    """
    try:
        driver = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int()
    failed = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    return 0 if failed else count.value
