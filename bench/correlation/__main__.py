"""Run ``bench.correlation.compare``: ``python -m bench.correlation``."""

from bench.correlation.compare import main
from engine.system.command import run

if __name__ == "__main__":
    run(main)
