"""Store the kernels that TensorRT for RTX compiles at run time, for the next process.

https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/inference-library/work-with-runtime-cache.html
"""

import logging
from typing import Any

from engine.backends.tensorrt.package import TensorRT, message_log
from engine.system.cache import read_cached, write_cached

_log = logging.getLogger(__name__)


class RuntimeCache:
    """The ``IRuntimeCache`` of an engine, shared by its execution contexts.

    Call all methods inside `Device.current`. A failure costs only time, so it is logged.
    """

    def __init__(self, runtime: TensorRT, engine: Any, key: str) -> None:
        """Load the kernels stored under ``key``, if they match this machine."""
        self._messages = message_log(runtime.module)
        self._key = key
        self._stored = read_cached(key)
        self._is_used = False
        self._cache = engine.create_runtime_config().create_runtime_cache()
        if self._cache is None:
            self._warn("compiled kernels are not cached")
        elif self._stored is not None and not self._cache.deserialize(self._stored):
            self._warn("the cached kernels do not fit and are compiled again")

    def attach(self, config: Any) -> None:
        """Attach the cache to the ``IRuntimeConfig`` of a new execution context."""
        if self._cache is None:
            return
        self._is_used = config.set_runtime_cache(self._cache)
        if not self._is_used:
            self._warn("compiled kernels are not cached")

    def close(self) -> None:
        """Store newly compiled kernels. No execution context may use the cache any more."""
        if self._is_used:
            compiled = self._cache.serialize()
            if compiled is None:
                self._warn("compiled kernels are not cached")
            elif bytes(compiled) != self._stored:
                write_cached(self._key, bytes(compiled))
        self._cache = None

    def _warn(self, what: str) -> None:
        _log.warning("%s: %s", what, self._messages.take())
