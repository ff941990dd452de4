"""A process that reads inputs; its parent survives what they do.

python -m tests.fuzz.child run READER SEED SECONDS FOLDER
python -m tests.fuzz.child once READER FILE
"""

import json
import mmap
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.checking import FOREIGN, Fault, fault_of, limit_this_process
from tests.fuzz.minimise import minimised
from tests.fuzz.mutations import LONGEST, mutations
from tests.fuzz.reader import Reader, reader_named

# Of the clock: SIGALRM ends a process that hangs, also within a library.
_LONGEST_SECONDS = 20


class InFlight:
    """The input that is being read, in a file that outlives the process."""

    def __init__(self, path: Path) -> None:
        """Create the file."""
        with path.open("wb+") as stream:
            stream.truncate(8 + LONGEST)
            self._memory = mmap.mmap(stream.fileno(), 8 + LONGEST)

    def set(self, data: bytes) -> None:
        """Keep an input."""
        self._memory[: 8 + len(data)] = len(data).to_bytes(8, "little") + data


def in_flight(path: Path) -> bytes:
    """Return the input that a process left in its file."""
    content = path.read_bytes()
    return content[8 : 8 + int.from_bytes(content[:8], "little")]


def _run(reader: Reader, seed: int, end: float, folder: Path) -> None:
    """Read mutated inputs; print the faults and, now and then, the number of inputs as JSON."""
    for valid in reader.seeds():
        fault_of(reader, valid)  # the first call imports what it needs
    limit_this_process()
    current, seen = InFlight(folder / "in-flight"), set()
    for count, data in enumerate(_inputs(reader, seed, end), 1):
        current.set(data)
        signal.alarm(_LONGEST_SECONDS)
        fault = fault_of(reader, data)
        signal.alarm(0)
        if count % 100 == 0:
            print(json.dumps({"inputs": count}), flush=True)
        if fault is None:
            continue
        new = (fault.kind, fault.place) not in seen
        seen.add((fault.kind, fault.place))
        if new and fault.kind == FOREIGN:
            data = minimised(
                data, lambda part, fault=fault: _is_alike(fault_of(reader, part), fault)
            )
        found = {"inputs": count, **vars(fault)} | ({"data": data.hex()} if new else {})
        print(json.dumps(found), flush=True)
        if fault.kind != FOREIGN:
            return  # its memory's peak would hide that of the inputs to come
    print(json.dumps({"inputs": count}), flush=True)


def _inputs(reader: Reader, seed: int, end: float) -> Iterator[bytes]:
    for data in mutations(reader.seeds(), seed):
        yield data
        if time.monotonic() > end:
            return


def _is_alike(fault: Fault | None, other: Fault) -> bool:
    return fault is not None and (fault.kind, fault.place) == (other.kind, other.place)


def main(verb: str, name: str, *arguments: str) -> int:
    """Run the command; see the module."""
    warnings.simplefilter("ignore")
    start = time.monotonic()
    reader = reader_named(name)
    if verb == "run":
        seed, seconds, folder = arguments
        _run(reader, int(seed), start + float(seconds), Path(folder))
        return 0
    fault_of(reader, reader.seeds()[0])
    limit_this_process()
    fault = fault_of(reader, Path(arguments[0]).read_bytes())
    print("no fault" if fault is None else f"{fault.kind}: {fault.place}: {fault.text}")
    return int(fault is not None)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
