"""Reading a finished extraction: any flow of any clip at any time."""

import bisect
import itertools
import operator
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engine.bulk.extraction import read_job, read_table
from engine.bulk.shard import Row
from engine.errors import FlowFileError, InputError
from engine.flow.formats import flow_from_bytes
from engine.store.files import open_files
from engine.store.info import is_name
from engine.store.reader import FlowStore
from engine.types import Flow

# Open at the same time: each has a file descriptor, and the list of its shard's entries.
_OPEN = 16


class Extraction:
    """The flows of all clips, read when they are asked for.

    ``extraction[i]`` is a flow, (H, W, 2) float32 pixels, x then y, NaN where it is unknown;
    ``extraction.locate(i)`` says of which clip. It may be pickled and shared by forked processes,
    so it is a data set for a PyTorch ``DataLoader``. Clips differ in size.

    Attributes:
        path: of the extraction.
        clips: a row for each clip, in order, with ``file``, ``status``, and for those that could be
            read ``height``, ``width``, ``flows``, ``folder``, ``notes`` or the score.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read the table of the clips.

        Raises:
            InputError: It is no extraction, it is not finished, or it is one of scores.
            FlowFileError: Its table is malformed.
            OSError: It cannot be read.
        """
        self.path = Path(path)
        self._format = read_job(self.path).get("format")
        self.clips: list[Row] = read_table(self.path)
        if self._format not in _OPENERS:
            raise InputError(
                f"{path} holds no flow, but the format {self._format!r:.40}; expected "
                f"{' or '.join(_OPENERS)}. Read its clips.jsonl as JSON."
            )
        counts = [self._count(row) for row in self.clips]
        self._ends = list(itertools.accumulate(counts))
        self._opened: OrderedDict[int, Sequence[Flow]] = OrderedDict()

    def __repr__(self) -> str:
        """Return path and numbers of clips and flows."""
        return f"Extraction({str(self.path)!r}: {len(self)} flows of {len(self.clips)} clips)"

    def __len__(self) -> int:
        """Return the number of flows."""
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Flow:
        """Return a flow.

        Raises:
            FlowFileError: Its data are missing or damaged.
            IndexError: There is no such flow.
        """
        clip, number = self.locate(index)
        return self.flows_of(clip)[number]

    def locate(self, index: int) -> tuple[int, int]:
        """Return the number of the clip that a flow is of, and the number of the flow in it.

        Raises:
            IndexError: There is no such flow.
        """
        i = operator.index(index)
        if not -len(self) <= i < len(self):
            raise IndexError(f"{self.path} has {len(self)} flows; there is no number {i}.")
        i %= len(self)
        clip = bisect.bisect_right(self._ends, i)
        return clip, i - (self._ends[clip - 1] if clip else 0)

    def flows_of(self, clip: int) -> Sequence[Flow]:
        """Return the flows of a clip; those of a store are a `FlowStore`, with names and times.

        Raises:
            FlowFileError: Its data are missing or damaged.
            InputError: The clip has no flow, or its shard is missing.
        """
        row = self.clips[clip]
        if not row.get("flows"):
            raise InputError(f"{row['file']} has no flow: {row['status']}")
        if clip in self._opened:
            self._opened.move_to_end(clip)
            return self._opened[clip]
        flows = _OPENERS[str(self._format)](self.path / row["folder"], row)
        if len(flows) != row["flows"]:
            raise FlowFileError(
                f"{self.path / row['folder']} has {len(flows)} flows; expected {row['flows']}. "
                "Give the same `flow extract` command again, which repairs it."
            )
        self._opened[clip] = flows
        if len(self._opened) > _OPEN:
            self._opened.popitem(last=False)
        return flows

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: nothing that is open."""
        return self.__dict__ | {"_opened": OrderedDict()}

    def _count(self, row: Row) -> int:
        match row:
            case {
                "file": str(),
                "status": str(),
                "height": int(),
                "width": int(),
                "flows": int(count),
                "folder": str(folder),
            } if count >= 0 and is_name(folder):
                return count
            case {"file": str(), "status": str()} if "flows" not in row:
                return 0
        raise FlowFileError(
            f"{self.path} has a row {row!r:.200} in its table; expected file, status, and size, "
            "number and folder of the flows."
        )


class _Pictures(Sequence[Flow]):
    """The KITTI pictures of a clip in the archive of its shard."""

    def __init__(self, folder: Path, row: Row) -> None:
        self._folder, self._files = folder, open_files(folder)
        self._names = [name for name in self._files.names() if name.endswith(".png")]
        self._limit = 8 * int(row["height"]) * int(row["width"]) + (1 << 16)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: Any) -> Any:
        name = self._names[operator.index(index)]
        return flow_from_bytes(self._files.read(name, self._limit), self._folder / name)[0]


def _store(folder: Path, row: Row) -> Sequence[Flow]:
    return FlowStore(folder)  # type: ignore[return-value]  # a sequence in all but its methods


_OPENERS: dict[str, Callable[[Path, Row], Sequence[Flow]]] = {"store": _store, "png": _Pictures}
