"""Time from the start of a process to its first flow."""

import json
import statistics
import subprocess
import sys
from typing import Any

from bench.environment import child_environment

# Nothing but the clock is imported before the engine.
PROGRAM = """
import sys, time
start = time.perf_counter()
import engine
imported = time.perf_counter()
import numpy
pair = numpy.random.default_rng(0).integers(0, 256, (2, {height}, {width}, 3), numpy.uint8)
ready = time.perf_counter()
engine.infer(*pair)
done = time.perf_counter()
import json
print(json.dumps(["torch" in sys.modules, imported - start, imported - start + done - ready]))
"""


def measure_startup(height: int, width: int, *, repeats: int = 3) -> dict[str, Any]:
    """Return medians over new processes of ``import engine``, and of that plus the first flow.

    Returns:
        ``status`` and ``reason`` as in a row; if ok, ``import_ms``, ``first_flow_ms`` and
        ``torch_imported``.
    """
    program = PROGRAM.format(height=height, width=width)
    runs = []
    for _ in range(repeats):
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=False,
            env=child_environment(),
        )
        if done.returncode:
            last_line = (done.stderr.strip().splitlines() or ["no message"])[-1]
            return {"status": "failed", "reason": last_line}
        runs.append(json.loads(done.stdout))
    return {
        "status": "ok",
        "reason": None,
        "import_ms": 1e3 * statistics.median(imported for _, imported, _ in runs),
        "first_flow_ms": 1e3 * statistics.median(first for _, _, first in runs),
        "torch_imported": any(torch for torch, _, _ in runs),
    }
