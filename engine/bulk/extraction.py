"""The folder of an extraction: what was asked for, its plan, its shards, and the table of clips."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.bulk.plan import Shard, check_numbers, shard_from_json
from engine.bulk.shard import ATTEMPTS
from engine.errors import InputError
from engine.system.files import replacing, write_atomically
from engine.system.folders import locked_at_once

JOB, PLAN, SHARDS, TABLE = "extraction.json", "plan.jsonl", "shards", "clips.jsonl"
_FORMAT = {"format": "flownet-engine extraction", "version": 1}


@contextmanager
def opened(folder: Path, job: Mapping[str, str], *, force: bool) -> Iterator[list[Shard]]:
    """Begin or continue an extraction; yield its plan so far. No other process gets at it.

    Args:
        folder: of the extraction; it is created.
        job: everything but the clips that the result depends on.
        force: whether an extraction of another job is replaced.

    Raises:
        InputError: The folder holds something else, or another process extracts to it.
        OSError: It cannot be written.
    """
    folder.mkdir(exist_ok=True)
    with locked_at_once(folder) as alone:
        if not alone:
            raise InputError(
                f"{folder} is being written by another process; expected one at a time. Wait for "
                "its end, or write to another name."
            )
        continues = _continues(folder, job, force=force)
        _remove_leftovers(folder)
        if not continues:
            for name in (TABLE, PLAN):
                (folder / name).unlink(missing_ok=True)
            if (folder / SHARDS).exists():  # a shard that stayed would count as one of this job
                shutil.rmtree(folder / SHARDS)
            write_atomically(folder / JOB, json.dumps({**_FORMAT, "job": job}, indent=1).encode())
        (folder / SHARDS).mkdir(exist_ok=True)
        try:
            yield read_plan(folder)
        finally:
            _remove_leftovers(folder)


def _remove_leftovers(folder: Path) -> None:
    """Remove what processes leave that are killed while they write."""
    parts = [(folder, JOB), (folder, PLAN), (folder, TABLE)]
    for place, pattern in [(folder / SHARDS, ".*"), (folder / SHARDS, f"*{ATTEMPTS}")] + [
        (place, f".{Path(name).stem}.*") for place, name in parts
    ]:
        for path in place.glob(pattern):
            path.unlink(missing_ok=True)


def read_job(folder: Path) -> dict[str, str]:
    """Return what an extraction was asked for.

    Raises:
        InputError: The folder is no extraction.
    """
    try:
        content = json.loads((folder / JOB).read_bytes())
        if {key: content.pop(key) for key in _FORMAT} == _FORMAT:
            return dict(content["job"])
        reason = "it is of another format or version"
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = f"{JOB} is missing or damaged: {error}"
    raise InputError(
        f"{folder} is no extraction ({reason}); expected a folder that `flow extract` wrote."
    )


def _continues(folder: Path, job: Mapping[str, str], *, force: bool) -> bool:
    """Return whether the folder holds an extraction of the same job; False: it is to begin.

    Raises:
        InputError: It holds something else, which stays.
    """
    if all(path.name.startswith(".") for path in folder.iterdir()):
        return False
    before = read_job(folder)
    if before == dict(job):
        return True
    if force or not any((folder / SHARDS).glob("*.json")):
        return False
    name = next(key for key in {**before, **job} if before.get(key) != job.get(key))
    raise InputError(
        f"{folder} was begun with {name} {before.get(name)}, and this is {job.get(name)}; expected "
        "the same command. Write to another name, or --force to begin anew."
    )


def read_plan(folder: Path) -> list[Shard]:
    """Return the shards of an extraction; none if it was never planned.

    Raises:
        InputError: The plan is damaged.
    """
    path = folder / PLAN
    if not path.exists():
        return []
    try:
        with path.open(encoding="utf-8") as stream:
            plan = [shard_from_json(line) for line in stream]
        check_numbers(plan)
        return plan
    except ValueError as error:
        raise InputError(
            f"{path} is damaged: {error}. Expected what `flow extract` wrote; begin in another "
            "folder."
        ) from None


def write_plan(folder: Path, plan: Sequence[Shard]) -> None:
    """Write the shards of an extraction, and take away a table that was made for others."""
    path = folder / PLAN
    text = "".join(f"{shard.to_json()}\n" for shard in plan).encode()
    if not path.exists() or path.read_bytes() != text:
        (folder / TABLE).unlink(missing_ok=True)
        write_atomically(path, text)


@dataclass
class Totals:
    """What an extraction has.

    Attributes:
        clips: number of all clips.
        failed: number of those that could not be read to their end.
        flows: number of flows.
    """

    clips: int = 0
    failed: int = 0
    flows: int = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Count a clip."""
        self.clips += 1
        self.failed += row["status"] != "ok"
        self.flows += row.get("flows", 0)


def write_table(folder: Path, plan: Sequence[Shard]) -> Totals:
    """Join the tables of all shards, which are finished: the extraction is complete.

    Raises:
        OSError: The table of a shard is missing, or this one cannot be written.
    """
    totals = Totals()
    with replacing(folder / TABLE) as temporary, temporary.open("wb") as joined:
        for shard in plan:
            with (folder / SHARDS / f"{shard.name}.jsonl").open("rb") as rows:
                for row in rows:
                    totals.add(json.loads(row))
                    joined.write(row)
    return totals


def read_table(folder: Path) -> list[dict[str, Any]]:
    """Return a row for each clip, in order.

    Raises:
        InputError: The extraction is not finished, or its table is damaged.
    """
    try:
        with (folder / TABLE).open(encoding="utf-8") as stream:
            return [dict(json.loads(line)) for line in stream]
    except FileNotFoundError:
        raise InputError(
            f"{folder} is not finished: it has no {TABLE}. Give the same `flow extract` command "
            "again, which goes on."
        ) from None
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"{folder / TABLE} is damaged: {error}. Delete it and give the same `flow extract` "
            "command again."
        ) from None
