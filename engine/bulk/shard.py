"""A shard: checked by its hashes if it is finished, else computed; the last rename finishes it."""

import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.bulk.plan import Clip, Shard
from engine.system.files import replacing, sha256_of, write_atomically

# What is known of a clip: its file, its status, and more if it could be read.
Row = dict[str, Any]
# Adds an entry to the shard's archive.
Add = Callable[[str, bytes], None]
# Computes a clip: the number of it, what it is, and where to put the flows.
Compute = Callable[[int, Clip, Add], Row]

# Zip has no older one. Now would make two runs differ.
_DATE = (1980, 1, 1, 0, 0, 0)
_MOST_ATTEMPTS = 3
ATTEMPTS = ".attempts"


class OutputError(Exception):
    """The archive cannot be written; the cause says why. No clip is at fault."""


def finished_rows(folder: Path, shard: Shard) -> list[Row] | None:
    """Return the rows of a finished shard; None if it has to be computed.

    It is finished if its record is of these clips, and the files have the hashes in the record.
    """
    try:
        record = json.loads((folder / f"{shard.name}.json").read_bytes())
        if record["shard"] != shard.digest:
            return None
        for name, digest in record["files"].items():
            if sha256_of(folder / Path(name).name) != digest:
                return None
        rows = (folder / f"{shard.name}.jsonl").read_text("utf-8").splitlines()
        return [dict(json.loads(row)) for row in rows]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def compute_shard(
    folder: Path, shard: Shard, compute: Compute, *, run: str, archived: bool
) -> Iterator[Row]:
    """Compute the clips of a shard and yield their rows; after the last one it is finished.

    A clip that ended the process three times in this run gets that as its status.

    Args:
        folder: of the shards.
        shard: what to compute.
        compute: computes a clip.
        run: names this run of the command.
        archived: whether flows are kept, in ``<name>.zip``.

    Raises:
        OSError: A file cannot be written.
    """
    attempts = _Attempts(folder / f"{shard.name}{ATTEMPTS}", run)
    record = folder / f"{shard.name}.json"
    record.unlink(missing_ok=True)
    names = [f"{shard.name}.zip"] * archived + [f"{shard.name}.jsonl"]
    rows: list[Row] = []
    try:
        with _archive(folder / names[0] if archived else None) as add:
            for number, clip in enumerate(shard.clips, shard.first):
                row = attempts.refused(number, clip) or compute(number, clip, add)
                if "folder" in row:
                    row["folder"] = f"{folder.name}/{names[0]}/{row['folder']}"
                rows.append(row)
                yield row
    except OutputError as error:
        raise error.__cause__ or error from None
    table = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    write_atomically(folder / names[-1], table)
    hashes = {name: sha256_of(folder / name) for name in names}
    content = {"shard": shard.digest, "files": hashes}
    write_atomically(record, json.dumps(content, indent=1).encode())
    attempts.forget()


@contextmanager
def _archive(path: Path | None) -> Iterator[Add]:
    """Yield what adds an entry to a new archive; without a path, nothing may be added."""
    if path is None:
        yield lambda name, data: None
        return
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:

        def add(name: str, data: bytes) -> None:
            try:
                archive.writestr(zipfile.ZipInfo(name, _DATE), data)
            except OSError as error:
                error.filename = error.filename or str(path)
                raise OutputError from error

        yield add


class _Attempts:
    """Which clips ended their process in a run: a file says which one is being computed."""

    def __init__(self, path: Path, run: str) -> None:
        self._path, self._run = path, run
        self._ended: dict[str, int] = {}
        try:
            found = json.loads(path.read_bytes())
            if found["run"] == run:
                self._ended = found["ended"]
                self._ended[found["clip"]] = self._ended.get(found["clip"], 0) + 1
        except (OSError, ValueError, TypeError, KeyError):
            pass

    def refused(self, number: int, clip: Clip) -> Row | None:
        """Begin a clip; return the row of one that has ended too many processes."""
        ended = self._ended.get(str(number), 0)
        if ended >= _MOST_ATTEMPTS:
            status = (
                f"{clip.file} ended the process that read it, {ended} times. Check the file and "
                "the memory of the machine."
            )
            return {"file": clip.file, "status": status}
        content = {"run": self._run, "clip": str(number), "ended": self._ended}
        write_atomically(self._path, json.dumps(content).encode(), sync=False)
        return None

    def forget(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)
