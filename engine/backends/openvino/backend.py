"""The OpenVINO backend, on the CPU."""

from pathlib import Path

from engine.backends.onnx_graphs import CpuBackend, open_graphs
from engine.backends.openvino.runtime import import_openvino, version_of
from engine.backends.openvino.session import OpenVINOSession
from engine.bundle.manifest import Manifest
from engine.errors import HardwareMissingError
from engine.system.cpu import int8_fault
from engine.system.threads import available_threads


class OpenVINOBackend(CpuBackend):
    """The ONNX graphs of a bundle, compiled by OpenVINO for the CPU."""

    name = "openvino"

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
        """Read the bundle; the graphs are compiled for the size of the first images.

        Args:
            bundle: the bundle's folder.
            manifest: the bundle's manifest.
            device: ignored.
            threads: number of CPU threads; None: all that this process may use.
            streams: number of flows computed at once; they share the threads equally.
            iterations: updates of a recurrent network; None: the bundle's own number.

        Raises:
            HardwareMissingError: the bundle is int8 and the CPU cannot compute int8 correctly.
            BackendError: OpenVINO is missing or cannot load the model.
            BundleError: a file has changed since it was checked.
        """
        if manifest.precision == "int8":
            _check_int8()
        openvino = import_openvino()
        self.runtime_version = version_of(openvino)
        count = threads or available_threads()

        def open_model(path: Path) -> OpenVINOSession:
            file = manifest.files[path.name]
            return OpenVINOSession(
                *(openvino, path),
                threads=count,
                streams=streams,
                file=file,
                iterations=iterations,
            )

        self.graphs = open_graphs(bundle, manifest, self.name, open_model)


def _check_int8() -> None:
    if fault := int8_fault():
        raise HardwareMissingError(
            f"backend openvino cannot run an int8 bundle: {fault}. Use backend onnxruntime, which "
            "computes the same bundle in float, or build one with --precision fp32"
        )
