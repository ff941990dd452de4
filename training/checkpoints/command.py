"""The command line of `python -m training.weights`."""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from engine.errors import nearest
from engine.system.argument_parser import RaisingParser, UsageError
from engine.system.command import INTERRUPTED
from training.checkpoints.stated import add_options, as_arguments, stated_by
from training.networks.registry import NETWORKS

_EPILOG = """examples:
  python -m training.weights inspect FlowNet2_checkpoint.pth.tar
  python -m training.weights convert FlowNet2_checkpoint.pth.tar -o flownet2.safetensors
  python -m export.build_engine --weights flownet2.safetensors -o build/flownet2

exit status: 0, or 2 if the file cannot be used"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, 2 if the file cannot be used, or 130 if it was interrupted."""
    try:
        options = _parser().parse_args(arguments)
        run = _inspect if options.command == "inspect" else _convert
        run(options)
    except (UsageError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = RaisingParser(
        prog="python -m training.weights",
        allow_abbrev=False,
        description="Say what a checkpoint is, and convert it. Checkpoints of FlowNetPytorch, "
        "flownet2-pytorch, RAFT, torchvision, mmflow and ptlflow are recognised by the names and "
        "shapes of their tensors. No code in a file is run.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="inspect|convert")
    inspect = commands.add_parser("inspect", help="say which network a file is of and whether it "
                                  "is whole", allow_abbrev=False)  # fmt: skip
    inspect.add_argument("file", type=Path, metavar="FILE", help="checkpoint or safetensors")
    inspect.add_argument("--json", action="store_true", help="print one JSON object")
    add_options(inspect)
    convert = commands.add_parser("convert", help="write a checkpoint as safetensors with the "
                                  "names of this project", allow_abbrev=False)  # fmt: skip
    add = convert.add_argument
    add("file", type=Path, metavar="FILE", help="checkpoint or safetensors")
    add("-o", "--output", type=Path, required=True, metavar="OUT.safetensors")
    add("--network", metavar="NAME", help="refuse a file of another network than this")
    add("--drop-extra", action="store_true", help="leave out tensors that the network has no "
        "place for")  # fmt: skip
    add("--force", action="store_true", help="replace OUT.safetensors")
    add_options(convert)
    return parser


def _inspect(options: argparse.Namespace) -> None:
    from training.checkpoints.report import inspect
    from training.checkpoints.text import as_text

    stated = stated_by(options)
    report = inspect(options.file, stated)
    print(json.dumps(asdict(report), indent=2) if options.json else as_text(report))
    if report.problem:
        raise UsageError(f"{options.file}: {report.problem}")
    if not options.json:
        file = shlex.quote(str(options.file))
        print(
            f"next: python -m export.build_engine --weights {file}{as_arguments(stated)} "
            f"-o build/{report.network}"
        )


def _convert(options: argparse.Namespace) -> None:
    output = options.output
    if output.suffix != ".safetensors":
        raise UsageError(f"-o {output}: expected a name that ends in .safetensors")
    if output.is_dir():
        raise UsageError(f"-o {output}: a folder; expected the name of a file")
    if output.exists() and not options.force:
        raise UsageError(f"-o {output}: exists; give another name, or --force to replace it")
    if options.network is not None and options.network not in NETWORKS:
        raise UsageError(
            f"--network {options.network}: expected one of {', '.join(NETWORKS)}."
            f"{nearest(options.network, NETWORKS)}"
        )
    from training.weights import load_weights, network_from_weights, save_weights

    weights = load_weights(options.file, drop_extra=options.drop_extra, stated=stated_by(options))
    network = options.network or weights.metadata["network"]
    network_from_weights(network, weights)  # refuses weights of another network
    save_weights(output, weights.state_dict, weights.metadata)
    print(f"wrote {output}: {network}, {len(weights.state_dict)} tensors, "
          f"{output.stat().st_size / 1e6:.1f} MB")  # fmt: skip
    quoted = shlex.quote(str(output))
    print(f"next: python -m export.build_engine --weights {quoted} -o build/{network}")
