"""How far a command has come, so that the same command can go on after an interruption."""

import contextlib
import hashlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from engine.data.listing import PICTURE_SUFFIXES, list_files
from engine.system.files import write_atomically

_INTERVAL = 0.5  # seconds between two writes: what a crash may cost


@dataclass
class Progress:
    """What is finished.

    Attributes:
        flows: number of flows that all outputs have.
        motion: sum of their mean magnitudes in pixels.
        scale: what the colour scale has learned from them; see `Painter.state`.
        complete: paths of the outputs that are complete. That a file is there does not say so: it
            may be of an earlier command.
    """

    flows: int = 0
    motion: float = 0.0
    scale: list[int] = field(default_factory=list)
    complete: list[str] = field(default_factory=list)


class Journal:
    """A small JSON file that exists while a command runs, and after it was interrupted."""

    def __init__(self, path: Path, job: Mapping[str, str]) -> None:
        """Name the file and what identifies the command; nothing is written yet."""
        self._path, self._job = path, dict(job)
        self._written = 0.0

    def read(self) -> Progress | None:
        """Return the progress of an interrupted run of the same command; None if there is none."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
            content = json.loads(self._path.read_text())
            if content["job"] == self._job:
                progress = Progress(**content["progress"])
                return progress if _is_whole(progress) else None
        return None

    def write(self, progress: Progress) -> None:
        """Write the progress.

        Raises:
            OSError: It cannot be written.
        """
        content = {"job": self._job, "progress": asdict(progress)}
        write_atomically(self._path, json.dumps(content).encode())
        self._written = time.monotonic()

    def note(self, progress: Progress) -> None:
        """Write the progress unless it was written a moment ago, or cannot be written."""
        if time.monotonic() - self._written > _INTERVAL:
            with contextlib.suppress(OSError):  # outputs come first
                self.write(progress)

    def remove(self) -> None:
        """Remove the file: the command has ended."""
        self._path.unlink(missing_ok=True)


def _is_whole(progress: Progress) -> bool:
    """Return whether a file had numbers and names where there are to be some."""
    counts = [progress.flows, *progress.scale]
    return (
        all(type(count) is int and count >= 0 for count in counts)
        and isinstance(progress.scale, list)
        and isinstance(progress.complete, list)
        and all(isinstance(path, str) for path in progress.complete)
        and isinstance(progress.motion, int | float)
        and math.isfinite(progress.motion)
    )


def fingerprint(source: Path) -> str:
    """Return what identifies the content of a video file or of a folder of pictures.

    Names, sizes and times of change: contents are not read.
    """
    files = list_files(source, PICTURE_SUFFIXES) if source.is_dir() else [source]
    stats = ((path.name, path.stat()) for path in files)
    lines = [f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats]
    return hashlib.sha256(
        "\n".join([str(source.resolve()), *lines]).encode(errors="surrogateescape")
    ).hexdigest()
