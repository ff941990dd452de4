"""The kernels that TensorRT for RTX compiles while it runs, kept for the next process.

https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/inference-library/work-with-runtime-cache.html
"""

import logging
from typing import Any

from engine.backends.tensorrt.package import TensorRT, message_log
from engine.system.cache import read_cached, write_cached

_log = logging.getLogger(__name__)


class RuntimeCache:
    """An engine's ``IRuntimeCache``: its execution contexts share it, and it outlives them.

    Used inside `Device.current`. What goes wrong costs time alone, so it is only logged.
    """

    def __init__(self, runtime: TensorRT, engine: Any, key: str) -> None:
        """Take up what was kept under ``key``, if it still fits this machine."""
        self._messages = message_log(runtime.module)
        self._key = key
        self._kept = read_cached(key)
        self._is_used = False
        self._cache = engine.create_runtime_config().create_runtime_cache()
        if self._cache is None:
            self._warn("compiled kernels are not cached")
        elif self._kept is not None and not self._cache.deserialize(self._kept):
            self._warn("the cached kernels do not fit and are compiled anew")

    def attach(self, config: Any) -> None:
        """Let the execution context that is made with an ``IRuntimeConfig`` use the cache."""
        if self._cache is None:
            return
        self._is_used = config.set_runtime_cache(self._cache)
        if not self._is_used:
            self._warn("compiled kernels are not cached")

    def close(self) -> None:
        """Keep what has been compiled since. No execution context uses it any more."""
        if self._is_used:
            compiled = self._cache.serialize()
            if compiled is None:
                self._warn("compiled kernels are not cached")
            elif bytes(compiled) != self._kept:
                write_cached(self._key, bytes(compiled))
        self._cache = None

    def _warn(self, what: str) -> None:
        _log.warning("%s: %s", what, self._messages.take())
