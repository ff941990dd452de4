"""Train a network: ``python -m training.train --network flownets_slim --data synthetic --out RUN``.

A run is a folder: ``checkpoint.pt`` (written regularly and atomically; the same command continues a
killed run from it), ``log.jsonl`` (one line per report) and, at the end, ``<network>.safetensors``
with the averaged weights.
"""

import shlex
import sys
from collections.abc import Iterator, Sequence

from engine.system.command import run
from training.config import TrainingConfig, TrainingError, parse
from training.data.batch import PairBatch
from training.data.sets import PairDataset
from training.data.streams import DatasetStream, SyntheticStream
from training.inputs import count_steps, open_inputs
from training.synthetic.render import SyntheticPairs
from training.trainer import Trainer
from training.validation import open_validation

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, 1 (the run diverged) or 2 (it cannot start)."""
    config = parse(arguments)
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
        if trainer.share < 1:
            trainer.run(stream, validation)
    except TrainingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    path = trainer.export(validation)
    print(f"wrote {path}")
    print(
        f"next: python -m export.build_engine --network {config.network} "
        f"--weights {shlex.quote(str(path))} -o build/{config.network}"
    )
    return 0


if __name__ == "__main__":
    run(main)
