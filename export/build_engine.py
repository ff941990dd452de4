"""Weights to bundle, from the shell; or only a bundle's TensorRT plan anew.

python -m export.build_engine --network flownets_slim --precision fp16 --size 384x512 -o DIR
python -m export.build_engine --rebuild DIR
"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from engine.errors import BundleError, EngineError
from engine.system.argument_parser import UsageError
from export.options import build_parser, bundle_to_rebuild
from export.rebuild import rebuild_plan
from export.verify.parity import VerificationError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns 0, 1 (the build failed) or 2 (the request cannot be met)."""
    what = "bundle"
    try:
        folder = bundle_to_rebuild(arguments)
        if folder is None:
            folder, done = _build(arguments)
        else:
            what = "plan"
            done = f"{folder / rebuild_plan(folder).file}, rebuilt"
    except (UsageError, BundleError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except VerificationError as error:
        print(f"error: the {what} was not built, verification failed:", file=sys.stderr)
        for failure in error.failures:
            print(f"  {failure}", file=sys.stderr)
        return 1
    except EngineError as error:
        print(f"error: the {what} was not built: {error}", file=sys.stderr)
        return 1
    print(f"{what:<10} {done}")
    print(f"next: python -m bench.compare --bundle {shlex.quote(str(folder))}")
    return 0


def _build(arguments: Sequence[str] | None) -> tuple[Path, str]:
    options = build_parser().parse_args(arguments)  # before PyTorch, which its help does without
    try:  # --rebuild does without these
        from export.bundle import build_bundle
        from export.fastest import build_fastest
        from export.resolve import requests_from
    except ModuleNotFoundError as error:
        raise UsageError(
            f"a build needs the package {error.name}: pip install 'flownet-engine[export]'"
        ) from error
    requests, output = requests_from(options)
    if len(requests) == 1:
        manifest = build_bundle(requests[0], output)
    else:
        manifest = build_fastest(requests, output)
    size = sum(file.bytes for file in manifest.files.values())
    verified = ", ".join(parity.backend for parity in manifest.parity if parity.status == "ok")
    return output, f"{output}, {size / 1e6:.1f} MB, verified with {verified}"


if __name__ == "__main__":
    sys.exit(main())
