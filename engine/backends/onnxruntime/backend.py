"""The ONNX Runtime backend, on the CPU."""

from pathlib import Path

from engine.backends.onnx_graphs import FEATURES, CpuBackend, open_graphs
from engine.backends.onnxruntime.session import CPU_PACKAGE, CpuSession
from engine.backends.runtime_import import import_runtime
from engine.bundle.manifest import Manifest
from engine.system.cpu import is_arm


class OnnxRuntimeBackend(CpuBackend):
    """The ONNX graphs of a bundle on ONNX Runtime's CPU provider."""

    name = "onnxruntime"

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
        """Load the bundle.

        Args:
            bundle: the bundle's folder.
            manifest: the bundle's manifest.
            device: ignored.
            threads: number of CPU threads; None: all that this process may use.
            streams: number of flows computed at once; they share the threads.
            iterations: updates of a recurrent network; None: the bundle's own number.

        Raises:
            BackendError: ONNX Runtime is missing or cannot load the model.
            BundleError: a file has changed since it was checked.
        """
        ort = import_runtime("onnxruntime", self.name, install=CPU_PACKAGE)
        self.runtime_version = str(ort.__version__)
        self.arithmetic = "float32"
        if manifest.precision == "int8":
            measured = "was not measured on Arm" if is_arm() else "is slower in ONNX Runtime"
            self.arithmetic += f": int8 {measured}"
        self.graphs = open_graphs(
            bundle,
            manifest,
            self.name,
            lambda path: CpuSession(
                *(ort, path, threads, streams),
                file=manifest.files[path.name],
                iterations=None if path.name == FEATURES else iterations,
            ),
        )
