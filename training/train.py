"""Train a network: ``python -m training.train --network flownets_slim --data synthetic --out RUN``.

A run is a folder: ``checkpoint.pt`` (written regularly and atomically; the same command continues a
stopped run from it), ``log.jsonl`` (one line per report) and, at the end, ``<network>.safetensors``
with the averaged weights.
"""

import sys
from collections.abc import Sequence

from engine.system.command import INTERRUPTED, run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0, 1 (the run cannot go on), 2 (it cannot start), or 128 plus the signal that stopped it.
    """
    try:
        from training.run import train  # PyTorch, which takes seconds to load

        return train(arguments)
    except KeyboardInterrupt:
        print("interrupted; the same command starts again, or continues", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    run(main)
