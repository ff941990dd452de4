"""The OpenVINO backend, on the CPU."""

from pathlib import Path

from engine.backends.onnx_graphs import CpuBackend, open_graphs
from engine.backends.openvino.runtime import import_openvino, version_of
from engine.backends.openvino.session import OpenVINOSession
from engine.bundle.manifest import Manifest
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
            HardwareMissingError: the CPU would compute the bundle's int8 weights wrongly.
            BackendError: OpenVINO is missing or cannot load the model.
            BundleError: a file has changed since it was checked.
        """
        openvino = import_openvino()
        self.runtime_version = version_of(openvino)
        count = threads or available_threads()
        sessions = []

        def open_model(path: Path) -> OpenVINOSession:
            file = manifest.files[path.name]
            session = OpenVINOSession(
                *(openvino, path),
                threads=count,
                streams=streams,
                file=file,
                iterations=iterations,
            )
            sessions.append(session)
            return session

        self.graphs = open_graphs(bundle, manifest, self.name, open_model)
        self.arithmetic = "; ".join(dict.fromkeys(session.arithmetic for session in sessions))
