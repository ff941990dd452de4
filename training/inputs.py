"""Opens what a configuration names: initial weights and data sets."""

from dataclasses import dataclass
from pathlib import Path

from training.config import TrainingConfig, TrainingError
from training.data.sets import SPLIT_FILES, FlyingChairs
from training.normalise import NORMALISATIONS
from training.weights import Weights, load_weights, network_from_weights


@dataclass(frozen=True)
class Inputs:
    """What a run reads.

    Attributes:
        initial: weights to start from; None: random initialisation.
        training: pairs on disk; None: procedural pairs.
        validation: pairs on disk to report the error on; None: procedural pairs only.
    """

    initial: Weights | None
    training: FlyingChairs | None
    validation: FlyingChairs | None


def open_inputs(config: TrainingConfig) -> Inputs:
    """Open weights and data sets, and check that they fit the configuration.

    Raises:
        TrainingError: a file cannot be used.
        OSError: a file cannot be read.
    """
    for place in (config.out, *config.out.parents):
        if place.exists() and not place.is_dir():
            raise TrainingError(f"--out {config.out}: {place} is a file; expected a folder")
    try:
        return Inputs(
            _initial(config), training := _training(config), _validation(config, training)
        )
    except ValueError as error:
        raise TrainingError(str(error)) from error


def _initial(config: TrainingConfig) -> Weights | None:
    if config.init is None:
        return None
    weights = load_weights(config.init)
    network_from_weights(config.network, weights)  # refuses weights of another network
    normalisation = weights.metadata["normalisation"]
    if normalisation not in NORMALISATIONS:
        raise TrainingError(
            f"--init {config.init}: its normalisation is {normalisation!r}; expected one of "
            f"{', '.join(NORMALISATIONS)}"
        )
    return weights


def _training(config: TrainingConfig) -> FlyingChairs | None:
    if config.data == "synthetic":
        return None
    data = FlyingChairs(_folder("--data", config.data), split="train")
    if len(data) < config.batch_size:
        raise TrainingError(
            f"--data {config.data}: {len(data)} pairs do not fill a batch of "
            f"{config.batch_size}; lower --batch-size"
        )
    data.check_alike()
    return data


def _validation(config: TrainingConfig, training: FlyingChairs | None) -> FlyingChairs | None:
    if not config.validate:
        return None
    data = FlyingChairs(_folder("--validate", config.validate), split="validation")
    if not len(data):
        raise TrainingError(f"--validate {config.validate}: its validation split is empty")
    if training and _shared(training, data):
        raise TrainingError(
            f"--validate {config.validate}: these are the training pairs; expected another "
            f"folder, or one with a split file ({SPLIT_FILES[0]})"
        )
    return data


def _shared(one: FlyingChairs, other: FlyingChairs) -> set[Path]:
    first = ({image1.resolve() for image1, *_ in data.pairs} for data in (one, other))
    return set.intersection(*first)


def _folder(option: str, argument: str) -> Path:
    """Return the folder of a ``chairs:FOLDER`` argument."""
    kind, _, folder = argument.partition(":")
    if kind != "chairs" or not folder:
        also = "`synthetic` or " if option == "--data" else ""
        raise TrainingError(f"{option} {argument}: expected {also}`chairs:FOLDER`")
    return Path(folder)
