"""A training run from its command line to its weights."""

import shlex
import sys
from collections.abc import Iterator, Sequence

import torch

from engine.data.pair import PairsError
from engine.errors import EngineError
from training.config import TrainingConfig, TrainingError, parse
from training.data.batch import PairBatch
from training.data.sets import PairDataset
from training.data.streams import DatasetStream, SyntheticStream
from training.inputs import count_steps, open_inputs
from training.stop import stop_requests
from training.synthetic.render import SyntheticPairs
from training.trainer import Trainer
from training.validation import Validation, open_validation

MARGIN = 32  # source pixels around a crop that the geometric augmentation can sample


def open_stream(
    config: TrainingConfig, training: PairDataset | None, step: int
) -> Iterator[PairBatch]:
    """Return the endless training batches from a step on."""
    if training is not None:
        return iter(DatasetStream(training, batch=config.batch_size, seed=config.seed, step=step))
    renderer = SyntheticPairs(
        *(config.height + MARGIN, config.width + 2 * MARGIN),
        scenes=config.scenes,
        device=config.device,
    )
    return iter(
        SyntheticStream(
            renderer,
            pool=config.pool,
            fresh=config.fresh,
            every=config.fresh_every,
            batch=config.batch_size,
            seed=config.seed,
            step=step,
        )
    )


def train(arguments: Sequence[str] | None = None) -> int:
    """Run the command; result as `training.train.main`."""
    config = parse(arguments)
    try:
        return _train(config)
    except RuntimeError as error:
        # On a CPU PyTorch has no class for it.
        if not isinstance(error, torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        advice = "lower --batch-size, --height and --width, or --pool"
        print(f"error: not enough memory: {advice}", file=sys.stderr)
        return 1


def _train(config: TrainingConfig) -> int:
    try:
        inputs = open_inputs(config)
        config = count_steps(config, inputs)
        config.out.mkdir(parents=True, exist_ok=True)
        trainer = Trainer(config, inputs.initial)
        try:
            validation = open_validation(inputs.validation, config.device)
        except (ValueError, OSError) as error:
            raise TrainingError(f"--validate {config.validate}: {error}") from error
        stream = open_stream(config, inputs.training, trainer.step)
    except (TrainingError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        return _run(trainer, stream, validation)
    # Of the disk, and of a pair that cannot be read.
    except (TrainingError, EngineError, PairsError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        print(f"the run stopped before step {trainer.step}; {trainer.kept()}", file=sys.stderr)
        return 1


def _run(trainer: Trainer, stream: Iterator[PairBatch], validation: Validation) -> int:
    if trainer.share < 1:
        with stop_requests() as requested:
            trainer.run(stream, validation, stop=lambda: requested() is not None)
        if trainer.share < 1:
            print(f"stopped; {trainer.kept()}", file=sys.stderr)
            return 128 + (requested() or 0)
    path, network = trainer.export(validation), trainer.config.network
    print(f"wrote {path}")
    print(
        f"next: python -m export.build_engine --network {network} "
        f"--weights {shlex.quote(str(path))} -o build/{network}"
    )
    return 0
