"""The command line of ``python -m training.train``, checked before any work is done."""

import argparse
import math
from pathlib import Path

import torch

from training.data.sets import SPLIT_FILES, FlyingChairs
from training.int8.fake_quant import check_equalisation
from training.networks import NETWORKS, build_network
from training.normalise import NORMALISATIONS
from training.weights import Weights, load_weights, network_from_weights

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
# Of synthetic pairs: how many are kept, how many are rendered at a time, after how many steps.
RENDERING = {"pool": 1024, "fresh": 1, "fresh_every": 1}
# Seeds of steps and pairs are counted up from it; validation's lie beyond.
MAX_SEED = 1_000_000_000


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ``training``, ``validation`` and ``initial`` hold what it names."""
    parser = argparse.ArgumentParser(
        prog="python -m training.train", description="Train a network; see training/train.py."
    )
    add = parser.add_argument
    add("--network", default="flownets_slim", help=f"one of {', '.join(NETWORKS)}")
    add("--data", default="synthetic", help="synthetic, or chairs:FOLDER")
    add("--validate", metavar="chairs:FOLDER", help="report the error on these pairs too")
    add("--out", required=True, metavar="RUN", type=Path, help="the run's folder")
    add("--init", metavar="FILE", help="weights to start from instead of noise")
    length = parser.add_mutually_exclusive_group().add_argument
    length("--steps", type=_count, default=12_000)
    length("--minutes", type=_positive, metavar="M", help="train for so long instead, the learning "
        "rate falling with the time")  # fmt: skip
    add("--batch-size", type=_count, default=8)
    add("--height", type=_count, default=256, help="of the crop")
    add("--width", type=_count, default=320, help="of the crop")
    add("--lr", type=_positive, default=8e-4, help="peak learning rate")
    add("--weight-decay", type=_not_negative, default=4e-4)
    add("--ema", type=_share, default=0.998, help="decay of the weight average")
    add("--pool", type=_count, help="synthetic pairs kept; default: 1024")
    add("--fresh", type=_count, help="synthetic pairs rendered at a time; default: 1")
    add("--fresh-every", type=_count, metavar="STEPS", help="how often; default: 1")
    add("--report-every", type=_count, default=500, metavar="STEPS")
    add("--precision", choices=PRECISIONS, help="of the convolutions; default: bf16 on GPUs, fp32 "
        "on CPUs, where bf16 pays as well if they have it")  # fmt: skip
    add("--int8", action="store_true", help="round activations and weights as int8 does: for a "
        "last run at a low rate, from trained weights")  # fmt: skip
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--seed", type=_seed, default=0)
    options = parser.parse_args(arguments)
    try:
        _check(options)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    return options


def _check(options: argparse.Namespace) -> None:
    for place in (options.out, *options.out.parents):
        if place.exists() and not place.is_dir():
            raise ValueError(f"--out {options.out}: {place} is a file; expected a folder")
    if options.height % 64 or options.width % 64:
        raise ValueError(
            f"--height {options.height} --width {options.width}: expected multiples of 64"
        )
    _check_device(options.device)
    if options.precision is None:
        options.precision = "bf16" if torch.device(options.device).type == "cuda" else "fp32"
    _set_rendering(options)
    build_network(options.network, seed=0)  # an unknown name is refused here
    options.initial = _initial(options)
    options.training = options.validation = None
    if options.data != "synthetic":
        options.training = FlyingChairs(_folder("--data", options.data), split="train")
        if len(options.training) < options.batch_size:
            raise ValueError(
                f"--data {options.data}: {len(options.training)} pairs do not fill a batch of "
                f"{options.batch_size}; lower --batch-size"
            )
        options.training.check_alike()
    if options.validate:
        folder = _folder("--validate", options.validate)
        options.validation = FlyingChairs(folder, split="validation")
        if not len(options.validation):
            raise ValueError(f"--validate {options.validate}: its validation split is empty")
        if options.training and _shared(options.training, options.validation):
            raise ValueError(
                f"--validate {options.validate}: these are the training pairs; expected another "
                f"folder, or one with a split file ({SPLIT_FILES[0]})"
            )
    # After all else, and here, so that a folder that cannot be made is told like the rest.
    options.out.mkdir(parents=True, exist_ok=True)


def _set_rendering(options: argparse.Namespace) -> None:
    """Fill in how synthetic pairs are rendered, which says nothing of any others."""
    for name, default in RENDERING.items():
        given = getattr(options, name)
        if given is None:
            setattr(options, name, default)
        elif options.data != "synthetic":
            option = name.replace("_", "-")
            raise ValueError(f"--{option} {given}: is for --data synthetic alone; leave it out")
    if options.data == "synthetic" and options.pool < options.batch_size:
        raise ValueError(f"--pool {options.pool}: expected at least --batch-size")


def _check_device(name: str) -> None:
    try:
        torch.empty(0, device=name)
    # What torch says of an unknown name, of no GPU, and of a build without CUDA.
    except (RuntimeError, AssertionError) as error:
        said = str(error).partition("\n")[0]
        raise ValueError(
            f"--device {name}: PyTorch {torch.__version__} cannot use it ({said}); expected cpu, "
            "or cuda on a machine with an NVIDIA GPU and a CUDA build of PyTorch"
        ) from error


def _initial(options: argparse.Namespace) -> Weights | None:
    if not options.init:
        return None
    weights = load_weights(options.init)
    network = network_from_weights(options.network, weights)
    normalisation = weights.metadata["normalisation"]
    if normalisation not in NORMALISATIONS:
        raise ValueError(
            f"--init {options.init}: its normalisation is {normalisation!r}; expected one of "
            f"{', '.join(NORMALISATIONS)}"
        )
    if options.int8 and weights.int8:
        check_equalisation(network, weights.int8)
    return weights


def _shared(one: FlyingChairs, other: FlyingChairs) -> set[Path]:
    first = ({image1.resolve() for image1, *_ in data.pairs} for data in (one, other))
    return set.intersection(*first)


def _folder(option: str, argument: str) -> Path:
    """The folder of a ``chairs:FOLDER`` argument."""
    kind, _, folder = argument.partition(":")
    if kind != "chairs" or not folder:
        also = "`synthetic` or " if option == "--data" else ""
        raise ValueError(f"{option} {argument}: expected {also}`chairs:FOLDER`")
    return Path(folder)


def _number(text: str) -> float:
    """The number; NaN, which lies in no range, for a text that is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _positive(text: str) -> float:
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: expected more than 0, a finite number")
    return value


def _not_negative(text: str) -> float:
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: expected at least 0, a finite number")
    return value


def _share(text: str) -> float:
    value = _number(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected at least 0 and less than 1")
    return value


def _seed(text: str) -> int:
    value = int(text) if text.isdecimal() else -1
    if not 0 <= value <= MAX_SEED:
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number from 0 to {MAX_SEED:,}")
    return value


def _count(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected at least 1, a whole number")
    return value
