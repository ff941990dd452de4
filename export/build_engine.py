"""Weights to bundle, from the shell.

python -m export.build_engine --network flownets_slim --precision fp16 --size 384x512 -o DIR
"""

import sys
from collections.abc import Sequence

from engine.errors import EngineError
from export.auto import build_fastest
from export.bundle import VerificationError, build_bundle
from export.options import UsageError, parse_requests


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, 1 (the build failed) or 2 (the request cannot be met)."""
    try:
        requests, output = parse_requests(arguments)
        if len(requests) == 1:
            manifest = build_bundle(requests[0], output)
        else:
            manifest = build_fastest(requests, output)
    except (UsageError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except VerificationError as error:
        print("error: the bundle was not built, verification failed:", file=sys.stderr)
        for failure in error.failures:
            print(f"  {failure}", file=sys.stderr)
        return 1
    except EngineError as error:
        print(f"error: the bundle was not built: {error}", file=sys.stderr)
        return 1
    size = sum(file.bytes for file in manifest.files.values())
    verified = ", ".join(parity.backend for parity in manifest.parity if parity.status == "ok")
    print(f"{'bundle':<10} {output}, {size / 1e6:.1f} MB, verified with {verified}")
    print(f"next: python -m bench.compare --bundle {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
