"""Run ``bench.correlation.compare``: ``python -m bench.correlation``."""

import sys

from bench.correlation.compare import main

if __name__ == "__main__":
    sys.exit(main())
