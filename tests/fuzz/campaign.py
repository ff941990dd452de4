"""Fuzzing of one reader: child processes, started again after each fault that ends one."""

import hashlib
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.checking import CRASH, TIME, Fault
from tests.fuzz.child import in_flight
from tests.fuzz.reader import folder_of


@dataclass
class Result:
    """What was found.

    Attributes:
        reader: its name.
        inputs: number of inputs.
        faults: number of faults of each kind.
        finds: a file with an input for each different fault.
    """

    reader: str
    inputs: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    finds: dict[Fault, Path] = field(default_factory=dict)


def fuzz(result: Result, seed: int, seconds: float, out: Path) -> None:
    """Fuzz a reader for some time, the start of its processes included.

    Args:
        result: of the reader; it is filled in as inputs are read.
        seed: of the mutations; each process after the first one has its own.
        seconds: of the clock.
        out: the folder of the finds.
    """
    folder = out / folder_of(result.reader)
    folder.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        before = result.inputs
        _run_child(result, seed, left, folder)
        seed += 1_000_003
        if result.inputs == before:
            break  # it does not start


def _run_child(result: Result, seed: int, seconds: float, folder: Path) -> None:
    command = [
        sys.executable, "-m", "tests.fuzz.child", "run", result.reader, str(seed), f"{seconds:.1f}",
        str(folder),
    ]  # fmt: skip
    before = result.inputs
    log = folder / "stderr"
    with (
        log.open("wb") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as child,
    ):
        for line in child.stdout:
            message = json.loads(line)
            result.inputs = before + message["inputs"]
            if "kind" in message:
                _add(result, message, folder)
    if child.returncode < 0:
        name = signal.Signals(-child.returncode).name
        kind = TIME if child.returncode == -signal.SIGALRM else CRASH
        result.inputs += 1
        place = {"kind": kind, "place": name, "text": f"ended by {name}"}
        _add(result, {**place, "data": in_flight(folder / "in-flight").hex()}, folder)
    elif child.returncode:
        raise RuntimeError(
            f"{result.reader}: the fuzzing process failed: {log.read_text()[-2000:]}"
        )


def _add(result: Result, message: dict, folder: Path) -> None:
    fault = Fault(message["kind"], message["place"], message["text"])
    result.faults[fault.kind] += 1
    known = {(found.kind, found.place) for found in result.finds}
    if "data" in message and (fault.kind, fault.place) not in known:
        data = bytes.fromhex(message["data"])
        path = folder / f"{hashlib.sha256(data).hexdigest()[:12]}.bin"
        path.write_bytes(data)
        result.finds[fault] = path
