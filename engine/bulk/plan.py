"""Which clips belong to which shard: decided once, and the same in every later run."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from engine.data.listing import PICTURE_SUFFIXES, list_files
from engine.errors import InputError
from engine.system.ordered_map import map_in_order

# A shard without an end would be one of clips that do not exist, which have no size.
_MOST_CLIPS = 1000
# Waiting for a network's file system, not computing.
_STAT_THREADS = 16


@dataclass(frozen=True)
class Clip:
    """A clip and its content, as far as that is known without reading it.

    Attributes:
        file: path of a video or of a folder of pictures.
        size: in bytes; 0 if it does not exist.
        content: changes with names, sizes and times of change.
    """

    file: str
    size: int
    content: str


@dataclass(frozen=True)
class Shard:
    """Clips that are extracted one after the other, into files of their own.

    Attributes:
        number: from 0.
        first: number of its first clip in the extraction.
        clips: at least one.
    """

    number: int
    first: int
    clips: tuple[Clip, ...]

    @property
    def name(self) -> str:
        """Start of the names of its files."""
        return f"{self.number:05d}"

    @property
    def digest(self) -> str:
        """SHA-256 of what it consists of."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Return one line of text."""
        return json.dumps(asdict(self))


def shard_from_json(text: str) -> Shard:
    """Return the shard of a line that `Shard.to_json` wrote.

    Raises:
        ValueError: It did not.
    """
    try:
        content = json.loads(text)
        clips = tuple(Clip(str(c["file"]), int(c["size"]), c["content"]) for c in content["clips"])
        return Shard(int(content["number"]), int(content["first"]), clips)
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(str(error)) from error


def check_numbers(plan: Sequence[Shard]) -> None:
    """Raise ``ValueError`` unless shards and their clips are numbered from 0, without a gap."""
    first = 0
    for number, shard in enumerate(plan):
        if (shard.number, shard.first) != (number, first) or not shard.clips:
            raise ValueError(f"line {number + 1} is not shard {number} with the clips from {first}")
        first += len(shard.clips)


def measure(files: Iterable[Path]) -> list[Clip]:
    """Return the clips with these names, each once; one that cannot be read has no size."""
    unique = dict.fromkeys(map(str, files))
    return list(map_in_order(_measured, unique, threads=_STAT_THREADS))


def _measured(index: int, file: str) -> Clip:
    path = Path(file)
    try:
        files = list_files(path, PICTURE_SUFFIXES) if path.is_dir() else [path]
        stats = [(each.name, each.stat()) for each in files]
    except (OSError, ValueError):
        return Clip(file, 0, "")
    lines = "\n".join(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats)
    content = hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()[:16]
    return Clip(file, sum(stat.st_size for _, stat in stats), content)


def shard_size(clips: Sequence[Clip], *, limit: int, workers: int) -> int:
    """Return the size of a shard in bytes: ``limit``, or less to give each worker four of them."""
    return min(limit, sum(clip.size for clip in clips) // (4 * workers) + 1)


def extended(plan: Sequence[Shard], clips: Sequence[Clip], size: int) -> list[Shard]:
    """Return the plan for these clips.

    Clips of an earlier plan stay in their shards, which change only if the content of a clip has.
    Others are added in new shards at the end.

    Args:
        plan: of the runs before; empty at first.
        clips: all clips, each once, in any order.
        size: of a new shard, in bytes; a clip that is larger has a shard of its own.

    Raises:
        InputError: A clip of the earlier plan is missing.
    """
    found = {clip.file: clip for clip in clips}
    kept = []
    for shard in plan:
        missing = [clip.file for clip in shard.clips if clip.file not in found]
        if missing:
            raise InputError(
                f"{missing[0]} was one of the clips of this extraction and is not any more; "
                "expected the same clips, or more. List it again, or write to another name."
            )
        now = tuple(found.pop(clip.file) for clip in shard.clips)
        kept.append(Shard(shard.number, shard.first, now))
    return kept + list(_cut(list(found.values()), size, kept[-1] if kept else None))


def _cut(clips: Sequence[Clip], size: int, last: Shard | None) -> Iterator[Shard]:
    """Yield shards of these clips, in their order, that follow the last one."""
    number, first = (0, 0) if last is None else (last.number + 1, last.first + len(last.clips))
    group: list[Clip] = []
    total = 0
    for clip in clips:
        if group and (total + clip.size > size or len(group) == _MOST_CLIPS):
            yield Shard(number, first, tuple(group))
            number, first, group, total = number + 1, first + len(group), [], 0
        group.append(clip)
        total += clip.size
    if group:
        yield Shard(number, first, tuple(group))
