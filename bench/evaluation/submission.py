"""Flow files in the layouts that benchmarks accept."""

from collections.abc import Sequence
from pathlib import Path

from bench.evaluation.subsets import Subset
from engine.data.files import PairFiles
from engine.flow.formats import write_flow
from engine.system.argument_parser import UsageError
from engine.types import Flow

# Suffix of a flow file by the name on the command line.
FORMATS = {"flo": ".flo", "kitti": ".png", "flo5": ".flo5"}
# Folder and format by data set. KITTI 2012's results are in the root of the archive, 2015's in
# flow/ (readme.txt of their development kits). Others have a folder for each pass, as MPI-Sintel.
_BENCHMARKS = {
    "kitti2012": ("", "kitti"),
    "kitti2015": ("flow", "kitti"),
    "hd1k": ("flow", "kitti"),
    "spring": ("", "flo5"),
}


def submission_path(folder: Path, subset: Subset, pair: PairFiles, format: str | None) -> Path:
    """Return where the flow of a pair is written.

    Args:
        folder: of the submission.
        subset: which the pair belongs to.
        pair: its name is the path below the subset's folder.
        format: a key of `FORMATS`; None: that of the benchmark, or ``flo``.
    """
    place, own = _BENCHMARKS.get(subset.data, (subset.pass_name or "", "flo"))
    return folder / place / f"{pair.name}{FORMATS[format or own]}"


def check_submission(subsets: Sequence[Subset], format: str | None) -> None:
    """Raise ``UsageError`` if two flows would be written to one file."""
    seen: dict[Path, Subset] = {}
    for subset in subsets:
        for pair in subset.pairs:
            path = submission_path(Path(), subset, pair, format)
            other = seen.setdefault(path, subset)
            if other is not subset:
                raise UsageError(
                    f"--write: both {other.title} and {subset.title} would write {path}; expected "
                    "one flow for each file: evaluate them one after another."
                )


def write_submission(path: Path, flow: Flow) -> None:
    """Write a flow file, and the folders above it.

    Raises:
        InputError: The flow is beyond the range of the format.
        OSError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_flow(path, flow)
