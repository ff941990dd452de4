"""``python -m engine``: the same as the installed command ``flow``."""

from engine.cli.main import main
from engine.system.command import run

if __name__ == "__main__":
    run(main)
