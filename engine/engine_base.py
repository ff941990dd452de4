"""An engine in its processes: open, forked, pickled, closed."""

import threading
from collections.abc import Callable
from typing import Self

from engine.backends.base import Backend
from engine.bundle.manifest import Manifest
from engine.errors import BackendError
from engine.lifetime import Lifetime
from engine.opened import Opened
from engine.system import fork


class EngineBase:
    """The open backend of an engine; see ``FlowEngine``."""

    def __init__(
        self,
        manifest: Manifest,
        backend: Backend,
        *,
        streams: int = 1,
        reload: Callable[[], Self] | None = None,
    ) -> None:
        """Take ownership of an open backend.

        Args:
            manifest: the bundle's manifest.
            backend: the open backend.
            streams: see ``engine.load``.
            reload: opens the same engine in another process; None: nothing does.
        """
        self.manifest = manifest
        self.streams = streams
        self._reload = reload
        self._name, self._device = backend.name, backend.device
        self._lifetime = Lifetime(self._release)
        self._opened: Opened | None = Opened(manifest, backend, streams, self._lifetime)
        self._opening = threading.Lock()
        fork.register(self)

    @property
    def backend(self) -> Backend:
        """The open backend; see ``backend.name`` and ``backend.device``."""
        return self._here().backend

    def __repr__(self) -> str:
        """Return e.g. ``<FlowEngine flownets_slim fp32, openvino on cpu>``."""
        network = f"{self.manifest.network} {self.manifest.precision}"
        return f"<FlowEngine {network}, {self._name} on {self._device}>"

    def __reduce__(self) -> tuple[Callable[[], Self], tuple[()]]:
        """Pickle the arguments of ``engine.load``, with the backend that it chose."""
        if self._reload is None:
            raise BackendError(
                "this engine cannot be pickled: it was made from a backend instead of a bundle. "
                "Open it by engine.load."
            )
        with self._lifetime.borrowed():
            return self._reload, ()

    def close(self) -> None:
        """Free the model when the running and queued calls are done; does not wait for them.

        May be called more than once.
        """
        self._lifetime.close()

    def __enter__(self) -> Self:
        """Return the engine itself."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Close the engine."""
        self.close()

    def after_fork(self) -> None:
        """See ``fork.Forked``: leave the open backend to the parent."""
        fork.leak(self._opened)
        self._opened, self._opening = None, threading.Lock()

    def _here(self) -> Opened:
        """Return what is open in this process; a forked child opens it on demand.

        Raises:
            BackendError: It cannot be opened here, or the engine was closed before a fork.
            BundleError: The bundle has changed since the fork.
        """
        if (opened := self._opened) is not None:
            return opened
        with self._lifetime.borrowed(), self._opening:
            if self._opened is None:
                backend = self._open_after_fork().backend
                self._opened = Opened(self.manifest, backend, self.streams, self._lifetime)
            return self._opened

    def _open_after_fork(self) -> Self:
        if self._reload is None:
            raise BackendError(
                "this engine was opened before a fork, from a backend instead of a bundle. Open it "
                "in this process."
            )
        if self._device != "cpu":
            raise BackendError(
                f"this engine was opened on {self._device} before a fork; CUDA does not work in a "
                'forked process. Start processes with the method "spawn".'
            )
        return self._reload()

    def _release(self) -> None:
        if self._opened is not None:
            self._opened.close()
