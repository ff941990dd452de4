"""ONNX Runtime on the CPU, and how a session of it is opened on any provider."""

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from engine.backends.onnx_graphs import Arrays, GraphsBackend, open_graphs
from engine.backends.registry import available_threads, import_runtime, one_line, read_model
from engine.bundle.manifest import BundleFile, Manifest
from engine.errors import BackendError, HardwareMissingError

_INSTALL = "pip install onnxruntime"
# An int8 graph is computed in float: ONNX Runtime's int8 convolutions were no faster than that, and
# left to itself it converts to int8 and back, weights included, at every layer (+25 %).
IN_FLOAT = {"session.disable_quant_qdq": "1", "session.enable_quant_qdq_cleanup": "1"}


class OnnxRuntimeBackend(GraphsBackend):
    """A bundle's ONNX on ONNX Runtime's CPU provider."""

    name = "onnxruntime"

    def __init__(
        self,
        bundle: Path,
        manifest: Manifest,
        *,
        device: int,
        threads: int | None,
        streams: int,
    ) -> None:
        """Load the model with ``threads`` CPU threads, which ``streams`` flows at once share.

        ``device`` has no meaning here.
        """
        ort = import_runtime("onnxruntime", self.name, install=_INSTALL)
        self.runtime_version = str(ort.__version__)
        self.graphs = open_graphs(
            bundle,
            manifest,
            self.name,
            lambda path: CpuSession(ort, path, threads, streams, file=manifest.files[path.name]),
        )


class CpuSession:
    """One ONNX file in ONNX Runtime; a ``graphs.Model``.

    It hands over ONNX Runtime's own output buffers; IO binding was measured not to be faster.
    """

    def __init__(
        self,
        ort: ModuleType,
        path: Path,
        threads: int | None,
        streams: int = 1,
        *,
        file: BundleFile | None = None,
    ) -> None:
        """Load it; ``file`` is what the manifest says of it, None where there is none.

        Raises:
            BackendError: ONNX Runtime cannot.
            BundleError: it is not the file that the manifest speaks of.
        """
        # A session's pool has one thread less than it is told, because each caller works as well:
        # so many callers and that pool are as many threads as there may be.
        share = (threads or available_threads()) - streams + 1
        self.session = open_session(
            ort,
            path,
            read_model(path, file),
            ("CPUExecutionProvider", {}),
            threads=share,
            config=IN_FLOAT,
            install=_INSTALL,
        )
        self._names = [output.name for output in self.session.get_outputs()]

    def __call__(self, inputs: Arrays) -> Arrays:
        """See ``graphs.Model``."""
        return dict(zip(self._names, self.session.run(self._names, inputs), strict=True))


def open_session(
    ort: ModuleType,
    path: Path,
    onnx: bytes,
    provider: tuple[str, Mapping[str, Any]],
    *,
    threads: int,
    config: Mapping[str, str],
    install: str,
) -> Any:
    """Open what an ONNX file held on one provider, never on another one.

    Args:
        ort: the module ``onnxruntime``.
        path: the file, for the message.
        onnx: what was read from it.
        provider: its name and its options.
        threads: CPU threads.
        config: ONNX Runtime's session configuration entries.
        install: the shell command that installs what the provider needs, for the message.

    Raises:
        BackendError: ONNX Runtime cannot load it.
        HardwareMissingError: The provider does not start here.
    """
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3  # errors; they are raised as well
    # Between runs its threads would wait in a loop, and take the CPU from the bundle's other graph.
    settings.add_session_config_entry("session.force_spinning_stop", "1")
    for key, value in config.items():
        settings.add_session_config_entry(key, value)
    try:
        session = ort.InferenceSession(
            onnx, settings, providers=[(provider[0], dict(provider[1]))], enable_fallback=False
        )
    except Exception as error:  # ONNX Runtime's own errors share no other base
        raise BackendError(
            f"onnxruntime {ort.__version__} cannot load {path}: {one_line(error)}"
        ) from error
    # Without this, a provider that fails to load is replaced by the CPU and only a line printed.
    if session.get_providers()[0] != provider[0]:
        raise HardwareMissingError(
            f"onnxruntime {ort.__version__} cannot use {provider[0]} here and offers "
            f"{session.get_providers()[0]}. Check the driver and the libraries that it needs: "
            f"{install}"
        )
    return session
