"""Build a bundle from weights.

python -m export.build_engine --network flownets_slim --precision fp16 --size 384x512 -o DIR
"""

import shlex
import sys
from collections.abc import Sequence

from engine.system.argument_parser import UsageError
from engine.system.command import run
from export import rebuild
from export.options import BuildOptions, parse
from export.outcome import exit_code, signer_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, 1 (the build failed) or 2 (the request cannot be met)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    first = arguments[0].split("=", 1) if arguments else []
    if first[:1] == ["--rebuild"]:  # earlier form of `python -m export.rebuild`
        return rebuild.main([*first[1:], *arguments[1:]])
    return exit_code(lambda: _build(parse(arguments)), "the bundle was not built")


def _build(options: BuildOptions) -> None:
    try:  # PyTorch, which parsing and --help do not need
        from export.bundle import build_bundle
        from export.fastest import build_fastest
        from export.resolve import resolve
    except ModuleNotFoundError as error:
        raise UsageError(
            f"a build needs the package {error.name}: pip install 'flownet-engine[export]'"
        ) from error
    signer = signer_of(options.sign)
    requests = resolve(options)
    if len(requests) == 1:
        manifest = build_bundle(requests[0], options.output, signer)
    else:
        manifest = build_fastest(requests, options.output, signer)
    size = sum(file.bytes for file in manifest.files.values())
    verified = ", ".join(parity.backend for parity in manifest.parity if parity.status == "ok")
    print(f"{'bundle':<10} {options.output}, {size / 1e6:.1f} MB, verified with {verified}")
    print(f"next: python -m bench.compare --bundle {shlex.quote(str(options.output))}")


if __name__ == "__main__":
    run(main)
