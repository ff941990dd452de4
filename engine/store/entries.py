"""Writing a store as entries of an archive, in which nothing can be changed later."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.store.info import StoreInfo
from engine.store.writer import StoreWriter

# Takes the path of an entry in the store, and its content.
Add = Callable[[str, bytes], None]


@contextmanager
def store_entries(add: Add, size: tuple[int, int], info: StoreInfo) -> Iterator[StoreWriter]:
    """Yield the writer of a store whose files are added one by one, each once.

    Flows are added at once, and metadata at the end of the block; also if that raises, but then
    the store is not marked as complete, and nothing is added for a store without flows.

    Args:
        add: called in the order of the files.
        size: height and width of the flows.
        info: see `StoreInfo.begun`.

    Raises:
        BackendNotInstalledError: numcodecs is not installed.
        InputError: The size is out of range.
    """
    writer = _Entries(add, size, info)
    writer.create()
    try:
        yield writer
        writer.finish()
    finally:
        if len(writer):
            writer.add_metadata()


class _Entries(StoreWriter):
    """Keeps what a `StoreWriter` writes again and again, until its content is final."""

    def __init__(self, add: Add, size: tuple[int, int], info: StoreInfo) -> None:
        super().__init__(Path(), size, info)
        self._add = add
        self._changing: dict[str, bytes] = {}

    def create(self) -> None:
        self._begin()

    def add_metadata(self) -> None:
        for key, data in self._changing.items():
            self._add(key, data)

    def _write(self, key: str, data: bytes) -> None:
        if key.startswith(f"{self._flow.name}/c"):
            self._add(key, data)
        else:
            self._changing[key] = data

    def _sync(self) -> None:
        """Nothing is on a disk of this writer."""
