"""A store with all flows; see `engine.store`."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine.bundle.manifest import MANIFEST_FILE, read_manifest
from engine.errors import FlowFileError, InputError
from engine.store.blosc import import_numcodecs
from engine.store.reader import FlowStore
from engine.store.writer import check_store_name, move_store, partial_store, write_store
from engine.system.files import sha256_of
from engine.video.frame import FrameSource
from engine.video.outputs.base import Write
from engine.video.pipeline import FlowFrame


class StoredFlows:
    """Writes a store under a hidden name and renames it at the end; an `Output`.

    Attributes:
        path: of the store.
    """

    def __init__(self, path: Path, source: FrameSource, *, bundle: Path, step: float) -> None:
        """Write the flow of these frames by this bundle, rounded to multiples of the step.

        Raises:
            BackendNotInstalledError: numcodecs is not installed.
            BundleError: The bundle has no manifest.
            InputError: See `check_store_name`.
        """
        import_numcodecs()
        check_store_name(path)
        self.path, self._source, self._step = path, source, step
        self._network = read_manifest(bundle).network
        self._bundle = sha256_of(bundle / MANIFEST_FILE)
        self._hidden = partial_store(path)

    def finished(self, *, complete: bool) -> int:
        """Return the number of flows that an interrupted run has left."""
        with suppress(FlowFileError, InputError):
            return len(FlowStore(self.path if complete else self._hidden))
        return 0

    @contextmanager
    def open(self, first: int) -> Iterator[Write]:
        """Yield what adds a flow; see `Output`."""
        if not first:
            shutil.rmtree(self._hidden, ignore_errors=True)
        with (
            self._without_empty(),
            write_store(
                self._hidden,
                (self._source.height, self._source.width),
                source=self._source.path.name,
                time_base=self._source.time_base,
                bundle=self._bundle,
                network=self._network,
                step=self._step,
                keep=first or None,
            ) as store,
        ):

            def write(flow: FlowFrame) -> None:
                times = flow.first.time, flow.second.time
                store.append(flow.flow, name=flow.first.name, times=times)

            yield write
        move_store(self._hidden, self.path)

    @contextmanager
    def _without_empty(self) -> Iterator[None]:
        """Delete a store without flows if the block raises."""
        try:
            yield
        except BaseException:
            if not self.finished(complete=False):
                shutil.rmtree(self._hidden, ignore_errors=True)
            raise
