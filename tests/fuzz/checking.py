"""What one input does to a reader: its errors, its time and its memory, within limits."""

import resource
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.reader import Reader

SECONDS = 2.0  # CPU time of one input
MEBIBYTES = 256  # growth of the process's peak by one input
# Above this an allocation fails, even one that is never touched.
_MEBIBYTES_OF_ADDRESSES = 2048
_ROOT = Path(__file__).parents[2]

CRASH, FOREIGN, MEMORY, TIME = "crashes", "foreign errors", f"> {MEBIBYTES} MiB", f"> {SECONDS:g} s"
KINDS = CRASH, FOREIGN, MEMORY, TIME


@dataclass(frozen=True)
class Fault:
    """What is wrong.

    Attributes:
        kind: one of ``KINDS``.
        place: what tells it from other faults: the error's type, and the last line of this
            repository that raised it.
        text: the error.
    """

    kind: str
    place: str
    text: str


def limit_this_process() -> None:
    """Bound the addresses of this process, so that one input does not take the machine's memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    used = pages * resource.getpagesize()
    most = used + _MEBIBYTES_OF_ADDRESSES * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def fault_of(reader: Reader, data: bytes) -> Fault | None:
    """Read an input; return what is wrong with that, None if nothing is."""
    memory, start = _peak_mebibytes(), time.process_time()
    fault = None
    try:
        reader.read(data)
    except Exception as error:
        if not reader.allows(error):
            kind = MEMORY if isinstance(error, MemoryError) else FOREIGN
            fault = Fault(kind, _place(error), f"{type(error).__name__}: {error}"[:300])
    seconds, grown = time.process_time() - start, _peak_mebibytes() - memory
    if fault is not None:
        return fault
    if grown > MEBIBYTES:
        return Fault(MEMORY, "peak", f"{grown:.0f} MiB")
    if seconds > SECONDS:
        return Fault(TIME, "time", f"{seconds:.1f} s")
    return None


def _peak_mebibytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _place(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(_ROOT)]
    frame = (ours or frames)[-1]
    return f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}"
