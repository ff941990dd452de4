"""Write procedural pairs: ``python -m training.synthetic``."""

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from engine.flow.formats import write_flow
from engine.images import write_image
from engine.system.argument_types import int_between, positive_int, size
from engine.system.command import run
from engine.system.pixel_limit import VARIABLE, max_pixels
from engine.system.progress import track
from training.data.batch import PairBatch
from training.synthetic.kinds import SCENES
from training.synthetic.render import SyntheticPairs

# Prefix of folders of pairs that are not complete.
_PARTIAL = ".partial-"


def main(arguments: Sequence[str] | None = None) -> None:
    """Render pairs to a folder."""
    parser = argparse.ArgumentParser(
        prog="python -m training.synthetic",
        description="Render synthetic pairs with exact flow, in the layout of Flying Chairs.",
    )
    parser.add_argument("--pairs", type=positive_int, default=8)
    parser.add_argument("--size", type=size, default=(384, 512), metavar="HxW")
    parser.add_argument("--scenes", choices=SCENES, default="affine", help="how layers move: by "
        "affine maps (default), or most of them in depth before a moving camera")  # fmt: skip
    parser.add_argument("--seed", type=int_between(0, 10**12), default=0)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    options = parser.parse_args(arguments)
    try:
        _check_size(*options.size)
        _check_output(options.output)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    try:
        _render(options)
    except OSError as error:
        parser.exit(1, f"error: {options.output} cannot be written: {error}\n")
    except RuntimeError as error:
        if "allocate memory" not in str(error):  # PyTorch has no class for it
            raise
        parser.exit(1, "error: not enough memory: give a smaller --size\n")
    except KeyboardInterrupt:
        parser.exit(130, "interrupted; no pair was written\n")
    height, width = options.size
    print(f"wrote {options.pairs} pairs of {height}x{width} to {options.output}")


def _render(options: argparse.Namespace) -> None:
    renderer = SyntheticPairs(*options.size, scenes=options.scenes)
    options.output.mkdir(parents=True, exist_ok=True)
    # Moved when complete: a killed run leaves no pairs, and the command may be started again.
    for left in options.output.glob(f"{_PARTIAL}*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_PARTIAL, dir=options.output) as partial:
        for index in track(range(options.pairs), "rendering"):
            pair = renderer.render(1, options.seed + index)
            write_pair(Path(partial), f"{index + 1:05d}", pair)
        for path in sorted(Path(partial).iterdir()):
            path.rename(options.output / path.name)


def write_pair(folder: Path, name: str, pair: PairBatch) -> None:
    """Write a batch of one as ``<name>_img1.ppm``, ``<name>_img2.ppm`` and ``<name>_flow.flo``."""
    planes = (pair.image1, pair.image2, pair.flow)
    image1, image2, flow = (x[0].permute(1, 2, 0).cpu().numpy() for x in planes)
    write_image(folder / f"{name}_img1.ppm", image1)
    write_image(folder / f"{name}_img2.ppm", image2)
    write_flow(folder / f"{name}_flow.flo", flow)


def _check_size(height: int, width: int) -> None:
    """Raise ``ValueError`` for pictures that nothing here would read."""
    if height * width > max_pixels():
        raise ValueError(
            f"--size {height}x{width}: pictures of more than {max_pixels()} pixels are not read; "
            f"give a smaller size, or set {VARIABLE}"
        )


def _check_output(folder: Path) -> None:
    """Raise ``ValueError`` for a file, and for a folder with pairs, which would be overwritten."""
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise ValueError(f"-o {folder}: {place} is a file; expected a folder")
    existing = [path.name for kind in ("*_flow.flo", "*_img1.*") for path in folder.glob(kind)]
    if existing:
        raise ValueError(
            f"-o {folder}: contains pairs already ({min(existing)}); name a new folder, or "
            "remove them"
        )


if __name__ == "__main__":
    run(main)
