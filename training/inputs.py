"""Opens what a configuration names: initial weights and data sets."""

from dataclasses import dataclass, replace
from pathlib import Path

from engine.data.chairs_split import SPLIT_FILES
from engine.errors import nearest
from training.config import TrainingConfig, TrainingError
from training.data.sets import PairDataset
from training.networks.registry import network_without_weights
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
    training: PairDataset | None
    validation: PairDataset | None


def open_inputs(config: TrainingConfig) -> Inputs:
    """Open weights and data sets, and check that they fit the configuration.

    Raises:
        TrainingError: a file cannot be used.
        OSError: a file cannot be read.
    """
    for place in (config.out, *config.out.parents):
        if place.exists() and not place.is_dir():
            raise TrainingError(f"--out {config.out}: {place} is a file; expected a folder")
    if config.only:
        _check_layers(config)
    try:
        return Inputs(
            _initial(config), training := _training(config), _validation(config, training)
        )
    except ValueError as error:
        raise TrainingError(str(error)) from error


def _check_layers(config: TrainingConfig) -> None:
    network = network_without_weights(config.network)
    own = [name for name, module in network.named_modules() if name and [*module.parameters()]]
    for name in config.only:
        if name not in own:
            raise TrainingError(
                f"--only {name}: {config.network} has no such layer; expected some of "
                f"{', '.join(own)}.{nearest(name, own)}"
            )


def count_steps(config: TrainingConfig, inputs: Inputs) -> TrainingConfig:
    """Return the configuration with the steps of its ``epochs``, if it has any.

    A pass over the data leaves out a last partial batch.
    """
    if config.epochs is None or inputs.training is None:
        return config
    return replace(config, steps=config.epochs * (len(inputs.training) // config.batch_size))


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


def _training(config: TrainingConfig) -> PairDataset | None:
    if config.data == "synthetic":
        return None
    data = PairDataset(config.data, use="train")
    if len(data) < config.batch_size:
        raise TrainingError(
            f"--data {config.data}: {len(data)} pairs do not fill a batch of "
            f"{config.batch_size}; lower --batch-size"
        )
    size = data.crop_to_one_size()
    if not config.augmentation and (size[0] < config.height or size[1] < config.width):
        raise TrainingError(
            f"--data {config.data}: pairs of {size[0]}x{size[1]}; expected at least the crop, "
            f"{config.height}x{config.width}: lower --height or --width, or give --augmentation, "
            "which enlarges"
        )
    return data


def _validation(config: TrainingConfig, training: PairDataset | None) -> PairDataset | None:
    if not config.validate:
        return None
    data = PairDataset(config.validate, use="validation")
    if training and _shared(training, data):
        raise TrainingError(
            f"--validate {config.validate}: these are the training pairs; expected another "
            f"folder, or one with a split file ({SPLIT_FILES[0]})"
        )
    return data


def _shared(one: PairDataset, other: PairDataset) -> set[Path]:
    flows = ({files.flow.resolve() for files in data.files if files.flow} for data in (one, other))
    return set.intersection(*flows)
