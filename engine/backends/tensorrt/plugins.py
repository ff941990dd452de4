"""Load a bundle's plugin library into TensorRT."""

import hashlib
import tempfile
import threading
from pathlib import Path

from engine.backends.tensorrt.package import TensorRT, message_log
from engine.errors import BackendError

_lock = threading.Lock()
_loaded: set[str] = set()


def load_plugins(runtime: TensorRT, name: str, library: bytes) -> None:
    """Register the plugins of a shared library, once per process and content.

    TensorRT loads a library from a file. These bytes are written to a private temporary folder
    first, so that a file which changes after its hash was checked is never loaded. TensorRT keeps
    the library until the process ends, and refuses a second plugin of the same name.

    Args:
        runtime: the TensorRT package.
        name: file name of the library.
        library: its content.

    Raises:
        BackendError: TensorRT cannot load the library.
    """
    digest = hashlib.sha256(library).hexdigest()
    messages = message_log(runtime.module)
    with _lock, tempfile.TemporaryDirectory(prefix="flownet-engine-") as folder:
        if digest in _loaded:
            return
        copy = Path(folder) / name
        copy.write_bytes(library)
        messages.take()
        if runtime.module.get_plugin_registry().load_library(str(copy)) is None:
            raise BackendError(f"{runtime.tool} cannot load {name}: {messages.take()}")
        _loaded.add(digest)
