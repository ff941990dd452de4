"""The configuration of a training run, and its command line."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from engine.data.pair import PairsError
from engine.data.sources import DATA_SETS, parse_source
from engine.system.argument_types import (
    fraction,
    int_between,
    names,
    non_negative_float,
    positive_float,
    positive_int,
)
from training.networks import NETWORKS, network_entry
from training.optimizer import OPTIMIZERS
from training.recipes import RECIPES
from training.schedules import SCHEDULES
from training.synthetic.kinds import SCENES

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Defaults that apply to procedural pairs only.
_RENDERING = {"scenes": "affine", "pool": 1024, "fresh": 1, "fresh_every": 1}
_LENGTHS = ("steps", "epochs", "minutes")
_DEFAULT_STEPS = 12_000
# Seeds of steps and pairs count up from --seed; those of validation are larger.
_MAX_SEED = 1_000_000_000


class TrainingError(Exception):
    """A run cannot start or continue; the message says why and what to do."""


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides a run. Every option of the command line is a field.

    Attributes:
        network: name in the registry.
        data: ``synthetic``, or pairs as in `engine.data.sources.parse_source`.
        validate: such a folder to report the error on, too; None: procedural pairs only.
        out: the run's folder.
        init: weights file to start from; None: random initialisation.
        only: layers that are trained, others keep their weights; empty: all are.
        steps: length of the run; ignored if one of the following is set.
        epochs: length in passes over ``data``, see `training.inputs.count_steps`.
        minutes: length in time; the learning rate then follows the time.
        batch_size: pairs per step.
        height: of the crop, a multiple of 64.
        width: of the crop, a multiple of 64.
        scenes: kind of the procedural pairs, a key of ``SCENES``.
        augmentation: whether pairs are augmented; otherwise they are only cropped.
        degradation: whether pairs are also degraded, see `training.data.degrade`.
        optimizer: a key of ``OPTIMIZERS``.
        schedule: of the learning rate, a key of ``SCHEDULES``.
        lr: peak learning rate.
        weight_decay: of kernels; biases have none.
        ema: decay of the weight average.
        pool: procedural pairs kept in memory.
        fresh: procedural pairs rendered at a time.
        fresh_every: steps between renderings.
        report_every: steps between validations and checkpoints.
        precision: of the convolutions, a key of ``PRECISIONS``.
        int8: whether to train with fake quantisation.
        device: PyTorch device.
        seed: of initialisation, rendering, shuffling and augmentation.
    """

    network: str
    data: str
    validate: str | None
    out: Path
    init: Path | None
    only: Sequence[str]
    steps: int
    epochs: int | None
    minutes: float | None
    batch_size: int
    height: int
    width: int
    scenes: str
    augmentation: bool
    degradation: bool
    optimizer: str
    schedule: str
    lr: float
    weight_decay: float
    ema: float
    pool: int
    fresh: int
    fresh_every: int
    report_every: int
    precision: str
    int8: bool
    device: str
    seed: int

    def __post_init__(self) -> None:
        """Check what can be checked without opening a file.

        Raises:
            TrainingError: a value cannot be used.
        """
        if self.height % 64 or self.width % 64:
            raise TrainingError(
                f"--height {self.height} --width {self.width}: expected multiples of 64"
            )
        try:
            network_entry(self.network)
        except ValueError as error:
            raise TrainingError(f"--network: {error}") from error
        if self.degradation and not self.augmentation:
            raise TrainingError(
                "--degradation --no-augmentation: pairs are degraded after their augmentation; "
                "leave one of the two out"
            )
        if self.data == "synthetic" and self.epochs is not None:
            raise TrainingError(
                f"--epochs {self.epochs}: procedural pairs are endless; give a folder as --data, "
                "or --steps"
            )
        if self.data == "synthetic" and self.pool < self.batch_size:
            raise TrainingError(f"--pool {self.pool}: expected at least --batch-size")
        _check_device(self.device)


def parse(arguments: Sequence[str] | None = None) -> TrainingConfig:
    """Parse the command line; exits with code 2 and a message for values that cannot be used."""
    parser = _parser()
    options = parser.parse_args(arguments)
    own = {} if options.recipe is None else RECIPES[options.recipe].options
    # The lengths exclude one another: a given one replaces the recipe's, whichever that is.
    parser.set_defaults(**{name: own[name] for name in own.keys() - {*_LENGTHS, *_RENDERING}})
    options = parser.parse_args(arguments)
    try:
        _apply_recipe(options)
        for name, default in _RENDERING.items():
            given = getattr(options, name)
            if given is None:
                setattr(options, name, own.get(name, default))
            elif options.data != "synthetic":
                raise TrainingError(
                    f"--{name.replace('_', '-')} {given}: applies to --data synthetic only; "
                    "leave it out"
                )
        if options.precision is None:
            options.precision = "bf16" if options.device.startswith("cuda") else "fp32"
        return TrainingConfig(
            **{field.name: getattr(options, field.name) for field in fields(TrainingConfig)}
        )
    except TrainingError as error:
        parser.error(str(error))


def _apply_recipe(options: argparse.Namespace) -> None:
    """Set the length of the run and the validation pairs where the command line does not."""
    recipe = None if options.recipe is None else RECIPES[options.recipe]
    if all(getattr(options, name) is None for name in _LENGTHS):
        own = {} if recipe is None else recipe.options
        for name in _LENGTHS:
            setattr(options, name, own.get(name))
    options.steps = options.steps or _DEFAULT_STEPS
    if recipe is not None and recipe.validates and options.validate is None:
        options.validate = None if options.data == "synthetic" else options.data


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.train",
        description="Train a network; docs/training.md has recipes.",
    )
    add = parser.add_argument
    add("--recipe", choices=RECIPES, help="defaults of a training; options override it")
    add("--network", default="flownets_slim", help=f"one of {', '.join(NETWORKS)}")
    add("--data", type=_source, default="synthetic", metavar="synthetic|NAME:DIR",
        help="procedural pairs (default), or those of a data set or folder with true flow; names: "
        + ", ".join(DATA_SETS))  # fmt: skip
    add("--validate", type=_source, metavar="NAME:DIR", help="report the error on these, too")
    add("--out", required=True, metavar="RUN", type=Path, help="the run's folder")
    add("--init", metavar="FILE", type=Path, help="weights to start from")
    add("--only", metavar="A,B", type=names, default=[], help="train these layers and modules "
        "alone, by their names in the network; default: all")  # fmt: skip
    length = parser.add_mutually_exclusive_group().add_argument
    length("--steps", type=positive_int, help=f"default: {_DEFAULT_STEPS}")
    length("--epochs", type=positive_int, metavar="N", help="train for N passes over --data")
    length("--minutes", type=positive_float, metavar="M", help="train for this long instead; the "
        "learning rate falls with the time")  # fmt: skip
    add("--batch-size", type=positive_int, default=8)
    add("--height", type=positive_int, default=256, help="of the crop")
    add("--width", type=positive_int, default=320, help="of the crop")
    add("--augmentation", action=argparse.BooleanOptionalAction, default=True, help="change "
        "geometry and colours of the pairs at random (default), or only crop them")  # fmt: skip
    add("--degradation", action=argparse.BooleanOptionalAction, default=False, help="also blur, "
        "rain, JPEG, changes of exposure and pairs without motion")  # fmt: skip
    add("--optimizer", choices=OPTIMIZERS, default="muon", help="muon for kernels and AdamW for "
        "the rest (default), or adam, as in the papers")  # fmt: skip
    add("--schedule", choices=SCHEDULES, default="linear", help="of the learning rate: falling "
        "to zero (linear, the default), halved four times (s_long), or constant")  # fmt: skip
    add("--lr", type=positive_float, default=8e-4, help="peak learning rate")
    add("--weight-decay", type=non_negative_float, default=4e-4)
    add("--ema", type=fraction, default=0.998, help="decay of the weight average")
    add("--scenes", choices=SCENES, help="of procedural pairs: layers that move by affine maps "
        "(affine, the default), or most of them in depth before a moving camera")  # fmt: skip
    add("--pool", type=positive_int, help="procedural pairs kept in memory; default: 1024")
    add("--fresh", type=positive_int, help="procedural pairs rendered at a time; default: 1")
    add("--fresh-every", type=positive_int, metavar="STEPS", help="how often; default: 1")
    add("--report-every", type=positive_int, default=500, metavar="STEPS")
    add("--precision", choices=PRECISIONS, help="of the convolutions; default: bf16 on GPUs, fp32 "
        "on CPUs (bf16 is faster on CPUs that support it)")  # fmt: skip
    add("--int8", action="store_true", help="train with fake quantisation of activations and "
        "weights; for a last run at a low learning rate, from trained weights")  # fmt: skip
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--seed", type=int_between(0, _MAX_SEED), default=0)
    return parser


def _check_device(name: str) -> None:
    try:
        torch.empty(0, device=name)
    # Raised for an unknown name, a missing GPU, and a build without CUDA.
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise TrainingError(
            f"--device {name}: PyTorch {torch.__version__} cannot use it ({reason}); expected cpu, "
            "or cuda on a machine with an NVIDIA GPU and a CUDA build of PyTorch"
        ) from error


def _source(text: str) -> str:
    """``synthetic``, or the name of pairs as `parse_source` parses it."""
    try:
        return text if text == "synthetic" else str(parse_source(text))
    except PairsError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
