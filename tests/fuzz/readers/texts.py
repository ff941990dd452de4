"""Text files: splits, journals, checkpoints of evaluations, what Linux tells of a machine."""

import functools
import json
from pathlib import Path
from unittest.mock import patch

import numpy as np

from bench.evaluation.checkpoint import Checkpoint
from engine.data.chairs_split import SPLIT_FILES, select_split
from engine.data.pair import PairsError
from engine.system import memory, threads
from engine.system.argument_parser import UsageError
from engine.video.journal import Journal, Progress
from tests.fuzz.reader import Reader, scratch, written

NAMES = ("split file", "journal", "evaluation checkpoint", "cgroup", "meminfo")
_JOB = {"input": "clip.mp4", "backend": "openvino"}
_REQUEST = {"data": "sintel", "bundle": "0" * 8}


def readers() -> list[Reader]:
    """See `Reader`."""
    return [
        Reader(NAMES[0], lambda: [b"1\n2\n1\n1\n", b"1 2 1.0 2.000e+00"], _split, (PairsError,)),
        Reader(NAMES[1], _journals, _journal),
        Reader(NAMES[2], _checkpoints, _checkpoint, (UsageError,)),
        Reader(NAMES[3], lambda: [b"max 100000\n", b"150000 100000\n"], _cgroup),
        Reader(NAMES[4], lambda: [b"MemFree: 5 kB\nMemAvailable:  1000 kB\n"], _meminfo),
    ]


def _split(data: bytes) -> None:
    path = written(data, SPLIT_FILES[0])
    select_split([None] * 4, path.parent, "train")


def _journals() -> list[bytes]:
    path = scratch() / "journal.json"
    Journal(path, _JOB).write(Progress(flows=3, motion=4.5, scale=[1, 2, 3]))
    return [path.read_bytes()]


def _journal(data: bytes) -> None:
    progress = Journal(written(data, "journal.json"), _JOB).read()
    if progress is not None:
        assert type(progress.flows) is int
        assert progress.flows >= 0
        assert all(type(count) is int for count in progress.scale)
        float(progress.motion)


def _checkpoints() -> list[bytes]:
    path = scratch() / "evaluation.jsonl"
    path.unlink(missing_ok=True)
    checkpoint = Checkpoint(path, _REQUEST)
    for index in range(2):
        entry = {"subset": index, "name": "a", "size": [4, 6], "ms": 1.5, "sums": [[1.0, 2.0]]}
        checkpoint.add(entry)
    return [path.read_bytes()]


def _checkpoint(data: bytes) -> None:
    for entry in Checkpoint(written(data, "evaluation.jsonl"), _REQUEST).entries:
        assert isinstance(entry, dict)
        json.dumps(entry)


@functools.cache
def _group() -> Path:
    (scratch() / "membership").write_text("0::/\n")
    (scratch() / "cgroup").mkdir()
    return scratch() / "cgroup"


def _cgroup(data: bytes) -> None:
    (_group() / "cpu.max").write_bytes(data)
    assert not np.isnan(threads._cgroup_quota(_group(), scratch() / "membership"))


def _meminfo(data: bytes) -> None:
    with patch.object(memory, "_MEMINFO", written(data, "meminfo")):
        found = memory.available_bytes()
    assert found is None or found >= 0
