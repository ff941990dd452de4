"""Run ``bench.storage.compare``: ``python -m bench.storage``."""

from bench.storage.compare import main
from engine.system.command import run

if __name__ == "__main__":
    run(main)
