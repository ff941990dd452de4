"""The training command's arguments, trainer and data of a short run of the network "narrow"."""

from pathlib import Path

from training.config import parse
from training.inputs import open_inputs
from training.synthetic.__main__ import main as render
from training.trainer import Trainer


def options(folder: Path, *extra: str, length: tuple[str, str] = ("--steps", "4")) -> list[str]:
    rendering = () if "--data" in extra else ("--pool", "4")
    run = ("--network", "narrow", "--out", str(folder), *length, "--batch-size", "2")
    small = ("--height", "64", "--width", "64", *rendering, "--report-every", "2")
    return [*run, *small, "--device", "cpu", *extra]


def trainer_for(arguments: list[str]) -> Trainer:
    """As the command creates it."""
    config = parse(arguments)
    inputs = open_inputs(config)
    config.out.mkdir(parents=True, exist_ok=True)
    return Trainer(config, inputs.initial)


def chairs_with_a_damaged_picture(folder: Path) -> Path:
    """As `chairs`, but 00002_img2.ppm cannot be read."""
    chairs(folder)
    (folder / "00002_img2.ppm").write_bytes(b"P6")
    return folder


def chairs(folder: Path, size: str = "96x128") -> Path:
    """Render four pairs in the layout of Flying Chairs."""
    render(["--pairs", "4", "--size", size, "-o", str(folder)])
    return folder
