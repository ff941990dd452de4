"""ONNX Runtime sessions: on one provider, never on another one instead."""

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from engine.backends.model_files import read_onnx
from engine.backends.onnx_graphs import ITERATIONS, Arrays
from engine.bundle.manifest import BundleFile
from engine.errors import BackendError, HardwareMissingError, one_line
from engine.system.threads import available_threads

CPU_PACKAGE = "pip install onnxruntime"
# Compute int8 graphs in float. ONNX Runtime's int8 convolutions are no faster, and by default it
# quantises and dequantises between all layers, weights included (+25 %).
FLOAT_INT8 = {"session.disable_quant_qdq": "1", "session.enable_quant_qdq_cleanup": "1"}


class CpuSession:
    """One ONNX file on ONNX Runtime's CPU provider; a ``Model``.

    It returns ONNX Runtime's own output buffers: IO binding is no faster on a CPU.

    Attributes:
        session: the ``onnxruntime.InferenceSession``.
    """

    def __init__(
        self,
        ort: ModuleType,
        path: Path,
        threads: int | None,
        streams: int = 1,
        *,
        file: BundleFile | None = None,
        iterations: int | None = None,
    ) -> None:
        """Load the file.

        Args:
            ort: the module ``onnxruntime``.
            path: the ONNX file.
            threads: number of CPU threads; None: all that this process may use.
            streams: number of threads that call the session at once.
            file: the file's entry in the manifest; None: do not check it.
            iterations: another number of updates of a recurrent network; None: the file's own.

        Raises:
            BackendError: ONNX Runtime cannot load the file.
            BundleError: the file has changed since it was checked.
        """
        # A pool of n has n - 1 threads of its own, because the calling thread computes as well.
        # With several callers, callers and pool together are `threads`.
        pool = (threads or available_threads()) - streams + 1
        self.session = open_session(
            ort,
            path,
            read_onnx(path, file),
            ("CPUExecutionProvider", {}),
            threads=pool,
            config=FLOAT_INT8,
            install=CPU_PACKAGE,
            iterations=iterations,
        )
        self._names = [output.name for output in self.session.get_outputs()]

    def __call__(self, inputs: Arrays) -> Arrays:
        """See ``engine.backends.onnx_graphs.Model``."""
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
    iterations: int | None = None,
) -> Any:
    """Open an ONNX model on one provider.

    Args:
        ort: the module ``onnxruntime``.
        path: the file, for the error message.
        onnx: the content of the file.
        provider: name and options of the provider.
        threads: size of the thread pool.
        config: session configuration entries.
        install: the shell command that installs what the provider needs, for the error message.
        iterations: another number of updates of a recurrent network; None: the model's own.

    Raises:
        BackendError: ONNX Runtime cannot load the model.
        HardwareMissingError: the provider does not start here.
    """
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    # Which tensors could share memory is found by comparing them all: 7 of 8 seconds of opening a
    # graph of 3,000 nodes. The allocator reuses memory anyway: no more is taken without.
    settings.enable_mem_reuse = False
    settings.log_severity_level = 3  # errors, which are also raised
    # Idle threads would otherwise busy-wait, and slow down the other graph of a split bundle.
    settings.add_session_config_entry("session.force_spinning_stop", "1")
    for key, value in config.items():
        settings.add_session_config_entry(key, value)
    turns = None
    if iterations is not None:  # the model's own value is an initializer
        turns = ort.OrtValue.ortvalue_from_numpy(np.array(iterations, np.int64))
        settings.add_initializer(ITERATIONS, turns)
    try:
        session = ort.InferenceSession(
            onnx, settings, providers=[(provider[0], dict(provider[1]))], enable_fallback=False
        )
    except Exception as error:  # ONNX Runtime's exceptions have no common base class
        raise BackendError(
            f"onnxruntime {ort.__version__} cannot load {path}: {one_line(error)}"
        ) from error
    # ONNX Runtime reads the value in place, in every run.
    session.iterations = turns
    # ONNX Runtime replaces a provider that fails to load by the CPU, and only prints a line.
    if session.get_providers()[0] != provider[0]:
        raise HardwareMissingError(
            f"onnxruntime {ort.__version__} cannot use {provider[0]} here and offers "
            f"{session.get_providers()[0]}. Check the driver and the libraries that it needs: "
            f"{install}"
        )
    return session
