"""Finished pairs of a run in a file, so that a run that was stopped continues after them."""

import json
from pathlib import Path
from typing import Any

from engine.system.argument_parser import UsageError

Entry = dict[str, Any]
_FORMAT = 1


class Checkpoint:
    """One JSON object a line: the request, then an entry for each finished pair.

    Args:
        path: the file; None keeps the entries in memory only.
        request: everything that the entries depend on.

    Attributes:
        entries: of the pairs finished so far, in order.

    Raises:
        UsageError: The file is of another request, or no checkpoint.
        OSError: The file cannot be read or written.
    """

    def __init__(self, path: Path | None, request: dict[str, Any]) -> None:
        self.path = path
        self.entries: list[Entry] = []
        self._request = {"checkpoint": _FORMAT, **request}
        if path is not None and path.exists():
            self.entries = self._read(path)
            self._write(path)  # a killed run may have left half a line

    def add(self, entry: Entry) -> None:
        """Keep the result of a finished pair."""
        self.entries.append(entry)
        if self.path is None:
            return
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._write(self.path)
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def remove(self) -> None:
        """Delete the file: the run is complete."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _write(self, path: Path) -> None:
        lines = map(json.dumps, (self._request, *self.entries))
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def _read(self, path: Path) -> list[Entry]:
        *lines, _ = path.read_bytes().split(b"\n")  # the last one is empty or not complete
        try:
            objects = [json.loads(line) for line in lines]
        except (ValueError, RecursionError) as error:
            raise UsageError(
                f"{path} is no checkpoint of an evaluation: {error}. Delete it, or write elsewhere."
            ) from error
        if not objects:
            return []
        found = objects[0] if isinstance(objects[0], dict) else {}
        for name, value in self._request.items():
            if found.get(name) != value:
                raise UsageError(
                    f"{path} is of a run that was not finished, with another {name} "
                    f"({found.get(name)!r} instead of {value!r}). Start it again as it was, delete "
                    "the file, or write elsewhere."
                )
        entries = objects[1:]
        if not all(isinstance(entry, dict) for entry in entries):
            raise UsageError(
                f"{path} is no checkpoint of an evaluation: expected a JSON object on each line. "
                "Delete it, or write elsewhere."
            )
        return entries
