"""``flow eval``: errors of flow files against true flow."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.cli import common, flow_files, stores
from engine.cli.comparison import Comparison
from engine.cli.outputs import STREAM, shown
from engine.errors import InputError
from engine.system.progress import track

_EPILOG = """examples:
  flow eval flow.flo truth.flo
  flow eval predictions training/flow_occ --from .png
  flow eval predictions truth --json > errors.json

Two folders are matched by the names of their files, without suffix, and of the folders in them.
EPE is the mean end-point error; 1, 3 and 5 px are the shares of pixels with a larger error; Fl-all
is the share with an error above 3 px and 5 % of the true motion; s0-10, s10-40 and s40+ are the EPE
by true motion in pixels. Pixels without true flow do not count."""


def add_command(commands: common.Commands) -> None:
    """Add ``eval`` to the parser's commands."""
    parser = common.add_command(
        commands, "eval", run, help="compare flow files with true flow", epilog=_EPILOG
    )
    parser.add_argument(
        "prediction", type=Path, metavar="PRED", help="flow file or folder, or - for stdin"
    )
    parser.add_argument("truth", type=Path, metavar="GT", help="true flow: a file or a folder")
    flow_files.add_from_option(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Run the command; return the exit status."""
    pairs, unmatched = _pairs(options)
    comparison = Comparison()
    for name in track(list(pairs), "comparing"):
        prediction, truth = pairs[name]
        flows = flow_files.read(prediction), flow_files.read(truth)
        comparison.add(name, *flows, files=(shown(prediction), shown(truth)))
    _note(unmatched, sum(comparison.unpredicted.values()))
    if options.json:
        print(json.dumps({**comparison.to_json(), "unmatched": unmatched}, indent=1))
    else:
        print("\n".join(comparison.lines()))
    return 0


_Pairs = dict[str, tuple[Path, Path]]


def _pairs(options: argparse.Namespace) -> tuple[_Pairs, dict[str, list[str]]]:
    """Return the files to compare by name, and the names in one folder only, by folder."""
    prediction, truth = options.prediction, options.truth
    if truth == STREAM:
        raise InputError("GT is -; expected a file or a folder. Only PRED may come from stdin.")
    for path in (prediction, truth):
        if path != STREAM and not path.exists() and not stores.is_address(path):
            raise InputError(f"{path} does not exist; expected a flow file or a folder of them.")
    if prediction.is_dir() != truth.is_dir():
        folder, file = sorted((prediction, truth), key=Path.is_dir, reverse=True)
        raise InputError(
            f"{folder} is a folder and {shown(file)} is not; expected two files or two folders."
        )
    if not truth.is_dir():
        return {shown(prediction): (prediction, truth)}, {}
    predictions, truths = (flow_files.by_name(path, options.source) for path in (prediction, truth))
    pairs = {
        name: (predictions[name], path) for name, path in truths.items() if name in predictions
    }
    if not pairs:
        raise InputError(
            f"{prediction} and {truth} have no file name in common ({next(iter(predictions))} and "
            f"{next(iter(truths))}, for example); expected the same names apart from the suffix. "
            "Rename the files."
        )
    unmatched = {
        str(folder): [name for name in names if name not in pairs]
        for folder, names in ((prediction, predictions), (truth, truths))
    }
    return pairs, unmatched


def _note(unmatched: Mapping[str, Sequence[str]], unpredicted: int) -> None:
    """Say on stderr what is not part of the errors."""
    for folder, names in unmatched.items():
        if names:
            some = ", ".join(map(common.printable, names[:3])) + (", ..." if names[3:] else "")
            print(f"flow: note: only in {folder}, left out: {some} ({len(names)})", file=sys.stderr)
    if unpredicted:
        print(
            f"flow: note: {unpredicted} pixels with true flow have no prediction, left out",
            file=sys.stderr,
        )
