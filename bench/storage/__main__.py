"""Run ``bench.storage.compare``: ``python -m bench.storage``."""

import sys

from bench.storage.compare import main

if __name__ == "__main__":
    sys.exit(main())
