"""Fuzz the readers of files in processes of their own, and print a table.

An input is a mutation of a file that the product wrote. A fault is a crash or a hang, an error that
is not one of the package's, more than 256 MiB, or more than 2 s of CPU time. The first input of
each fault is saved, without what is not needed for it.

python -m tests.fuzz --minutes 30
python -m tests.fuzz --minutes 1 --readers "flow .npz" manifest
python -m tests.fuzz.child once manifest build/fuzz/manifest/1f0c2a.bin
"""

import argparse
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz.campaign import Result, fuzz
from tests.fuzz.checking import KINDS
from tests.fuzz.progress import show_progress
from tests.fuzz.reader import names


def main() -> int:
    """Run the command; return 1 if there was a fault."""
    options = _parsed()
    chosen = options.readers or list(names())
    seconds = options.minutes * 60 * options.jobs / len(chosen)
    results = [Result(name) for name in chosen]
    with ThreadPoolExecutor(options.jobs) as pool:
        running = [
            pool.submit(fuzz, result, options.seed, seconds, options.out) for result in results
        ]
        show_progress(results, running, 60 * options.minutes)
    for one in running:
        one.result()  # raises what it raised
    print("\n".join(_table(results)))
    for result in results:
        for fault, path in result.finds.items():
            print(f"{result.reader}: {fault.kind}: {fault.place}: {fault.text}\n    {path}")
    return int(any(result.faults for result in results))


def _table(results: list[Result]) -> list[str]:
    rows = [("reader", "inputs", *KINDS)]
    rows += [_row(result.reader, result.inputs, result.faults) for result in results]
    faults = sum((result.faults for result in results), Counter())
    rows.append(_row("all", sum(result.inputs for result in results), faults))
    return [f"{row[0]:<26}" + "".join(f"{cell:>16}" for cell in row[1:]) for row in rows]


def _row(name: str, inputs: int, faults: Counter[str]) -> tuple[str, ...]:
    return (name, f"{inputs:,}", *(f"{faults[kind]:,}" for kind in KINDS))


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=30, help="of the clock (default: 30)")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations (default: 0)")
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"), help="folder of the finds")
    parser.add_argument("--readers", nargs="+", choices=names(), metavar="READER", help=
                        f"one or more of: {', '.join(names())} (default: all)")  # fmt: skip
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
