"""What an engine has in one process: the open backend, the rules around it, and threads."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from engine.backends.base import Backend
from engine.bundle.manifest import Manifest
from engine.inference import ImagePair, Inference
from engine.lifetime import Lifetime
from engine.system.ordered_map import submit
from engine.types import Flow, FlowPair


class Opened:
    """An open backend with its threads.

    Attributes:
        backend: the backend.
        inference: the rules that all backends share.
        lifetime: of the engine; whoever uses the backend borrows it.
    """

    def __init__(
        self, manifest: Manifest, backend: Backend, streams: int, lifetime: Lifetime
    ) -> None:
        """Take ownership of an open backend."""
        self.backend = backend
        self.inference = Inference(manifest, backend)
        self.lifetime = lifetime
        self._threads = ThreadPoolExecutor(streams, thread_name_prefix="flow-async")  # on demand

    def flow(self, pair: ImagePair, backward: bool) -> Flow | FlowPair:
        """Return the flow of a pair, or the flows in both directions."""
        with self.lifetime.borrowed():
            return self._computed(pair, backward)

    def submit(self, pair: ImagePair, backward: bool) -> Future[Any]:
        """Start computing what ``flow`` returns.

        Raises:
            BackendError: The engine is closed, or no thread starts.
        """
        self.lifetime.borrow()
        try:
            future = submit(self._threads, self._computed, pair, backward)
        except BaseException:
            self.lifetime.give_back()
            raise
        future.add_done_callback(lambda _: self.lifetime.give_back())
        return future

    def close(self) -> None:
        """Free the model; the caller may be one of the threads."""
        self._threads.shutdown(wait=False)
        self.backend.close()

    def _computed(self, pair: ImagePair, backward: bool) -> Flow | FlowPair:
        return self.inference.flows(pair) if backward else self.inference.flow(pair)
