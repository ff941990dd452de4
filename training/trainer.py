"""The state of a training run, its steps, reports and results."""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from engine.errors import one_line
from engine.system.progress import progress_bar
from training.checkpoint import damaged, load_checkpoint, save_checkpoint
from training.config import PRECISIONS, TrainingConfig, TrainingError
from training.data.augment import augment, crop_only
from training.data.batch import PairBatch
from training.data.degrade import augment_and_degrade
from training.int8.fake_quant import FakeQuantiser
from training.losses import at_stride, endpoint_error
from training.networks import build_network, network_entry
from training.networks.layers import FlowNetwork
from training.normalise import NORMALISATIONS
from training.optimizer import OPTIMIZERS
from training.origin import origin_of
from training.schedules import SCHEDULES
from training.validation import Validation, errors_of
from training.weights import UPSAMPLING, Weights, network_from_weights, save_weights

OBSERVED_EVERY = 20  # steps between observations of activation ranges
# Pairs per observation: otherwise ranges that cover the largest value would grow with the batch.
OBSERVED_PAIRS = 8
SAVE_EVERY = 480.0  # seconds between checkpoints, where reports are further apart


class Trainer:
    """A run; continues from the checkpoint in its folder if there is one.

    Args:
        config: the run's configuration.
        initial: weights to start from; None: random initialisation.

    Raises:
        TrainingError: the folder holds a checkpoint of another run, or a damaged one.
    """

    def __init__(self, config: TrainingConfig, initial: Weights | None = None) -> None:
        self.config, self.initial = config, initial
        self.device = torch.device(config.device)
        self.folder = config.out
        if initial:
            network = _without_batch_statistics(
                network_from_weights(config.network, initial).train()
            )
            self.normalisation = initial.metadata["normalisation"]
        else:
            network = build_network(config.network, seed=config.seed)
            self.normalisation = network.normalisation
        for name, parameter in network.named_parameters():
            chosen = (name.startswith(f"{layer}.") for layer in config.only)
            parameter.requires_grad_(not config.only or any(chosen))
        self.network: FlowNetwork = network.to(self.device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # torch.compile fuses kernels on a GPU; on a CPU it gains nothing for this network.
        cuda = self.device.type == "cuda"
        torch.backends.cudnn.benchmark = True
        self.forward = torch.compile(self.network) if cuda else self.network
        self.normalise = NORMALISATIONS[self.normalisation]().to(self.device)
        self.average = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(config.ema))
        self.prepare = augment if config.augmentation else crop_only
        if config.degradation:
            self.prepare = augment_and_degrade
        self.dtype = PRECISIONS[config.precision]
        self.optimizer = OPTIMIZERS[config.optimizer](
            self.network, lr=config.lr, weight_decay=config.weight_decay, dtype=self.dtype
        )
        self.step = 0
        self.seconds = 0.0  # spent in `run`
        self.quantiser = (
            FakeQuantiser(self.network, network_entry(config.network).int8) if config.int8 else None
        )
        self._initial_hash = _sha256(config.init) if config.init else "random"
        self._resume()
        if self.quantiser and self.quantiser.parameters:
            self.quantiser.attach(self.network)

    @property
    def checkpoint(self) -> Path:
        """Path of the checkpoint file."""
        return self.folder / "checkpoint.pt"

    @property
    def share(self) -> float:
        """Completed share of the run, 0 to 1: of its steps, or of its time with ``--minutes``."""
        if self.config.minutes is None:
            return min(1.0, self.step / self.config.steps)
        return min(1.0, self.seconds / (60 * self.config.minutes))

    def _resume(self) -> None:
        state = load_checkpoint(self.checkpoint, self.config, self._initial_hash, self.device)
        if state is None:
            return
        try:
            self._load(state)
        # PyTorch raises many kinds of exceptions for a state of other names, types or shapes.
        except Exception as error:
            raise damaged(self.checkpoint, one_line(error)) from error
        print(f"resuming {self.folder} at step {self.step}")

    def _load(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = int(state["step"])
        self.seconds = float(state["seconds"])
        if self.step < 0 or not 0 <= self.seconds < math.inf:
            raise ValueError(f"its step is {self.step} after {self.seconds} s; expected counts")
        if self.quantiser and "quantiser" in state:
            self.quantiser.load_state_dict(state["quantiser"])

    def save(self) -> None:
        """Write the checkpoint atomically."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        if self.quantiser:
            state["quantiser"] = self.quantiser.state_dict()
        save_checkpoint(self.checkpoint, self.config, self._initial_hash, state)

    def train_step(self, pairs: PairBatch) -> tuple[Tensor, Tensor]:
        """Update once; return the loss, and the finest flow's end-point error in pixels."""
        config = self.config
        crop, seed = (config.height, config.width), config.seed + self.step
        samples = self.prepare(pairs.to(self.device), crop, seed)
        # Occluded pixels can only be extrapolated: their weight rises from 0 to 1 over the first
        # third of the run ("The Devil in the Details", arXiv 2308.07378). Trained weights already
        # extrapolate, and would unlearn it.
        occluded_weight = 1.0 if self.initial else min(1.0, 3 * self.share)
        weight = samples.valid * (1 - samples.occluded * (1 - occluded_weight))
        rate = config.lr * SCHEDULES[config.schedule](self.step, self.share)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        lower = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype, enabled=lower):
            images = [
                image.contiguous(memory_format=torch.channels_last)
                for image in self.normalise(samples.image1, samples.image2)
            ]
            self._observe(images)
        target = samples.flow / self.network.flow_scale
        self.network.begin_step(seed)
        self.optimizer.zero_grad()
        quantiser = self.quantiser
        with quantiser.fake_quantised_weights(self.network) if quantiser else nullcontext():
            # A second autocast context: the first has cached casts of the unrounded weights.
            with torch.autocast(self.device.type, self.dtype, enabled=lower):
                flows = self.forward(*images)
            loss = self.network.loss(flows, target, weight)
            loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.average.update_parameters(self.network)
        with torch.no_grad():
            small, level = at_stride(target, samples.valid, self.network.output_stride)
            errors = endpoint_error(flows[0].float(), small) * level
            error = errors.sum() / level.sum().clamp(min=1) * self.network.flow_scale
        return loss.detach(), error

    def _observe(self, images: list[Tensor]) -> None:
        """Update the activation ranges now and then; attach the rounding after the first time."""
        if self.quantiser is None:
            return
        first = self.quantiser.parameters is None
        if first or self.step % OBSERVED_EVERY == 0:
            try:
                self.quantiser.observe(self.network, *(image[:OBSERVED_PAIRS] for image in images))
            except ValueError as error:
                raise TrainingError(self._diverged(str(error))) from error
        if first:
            self.quantiser.attach(self.network)

    def run(
        self,
        stream: Iterator[PairBatch],
        validation: Validation,
        *,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Train to the end, with reports and checkpoints.

        Args:
            stream: the training batches from `step` on.
            validation: what to report the error on.
            stop: asked before each step; if true, the run ends early, with a checkpoint.

        Raises:
            TrainingError: the run diverged; the last checkpoint is unchanged.
            OSError: the folder cannot be written, or a pair cannot be read.
        """
        config = self.config
        total = config.steps if config.minutes is None else None
        # Read seldom: reading waits for the GPU.
        running, since = torch.zeros((), device=self.device), time.perf_counter()
        start, first, saved = since - self.seconds, self.step, since
        kept = self.step
        with progress_bar("training", total, completed=self.step) as advance:
            while self.share < 1 and not stop():
                _, error = self.train_step(next(stream))
                self.step += 1
                self.seconds = time.perf_counter() - start
                running.lerp_(error, max(0.02, 1 / (self.step - first)))
                text = None
                if self.step % 10 == 0:
                    speed = 10 * config.batch_size / (time.perf_counter() - since)
                    since = time.perf_counter()
                    text = f"EPE {float(running):.2f} px, {speed:.1f} pairs/s"
                advance(text)
                due = self.step % config.report_every == 0 or self.share == 1
                if due or time.perf_counter() - saved > SAVE_EVERY:
                    self._check_finite()
                    if due:
                        self.report(float(running), validation)
                    self.save()
                    kept, since = self.step, time.perf_counter()
                    saved = since
        if kept < self.step:
            self._check_finite()
            self.save()

    def kept(self) -> str:
        """Say in words what there is to continue from."""
        if self.checkpoint.exists():
            return f"the same command continues from {self.checkpoint}"
        return "there is no checkpoint yet"

    def _check_finite(self) -> None:
        if not all(values.isfinite().all() for values in self.network.parameters()):
            raise TrainingError(self._diverged("weights are NaN or infinite"))

    def _diverged(self, how: str) -> str:
        return f"the run diverged before step {self.step}: {how}. Lower --lr"

    def validate(self, validation: Validation) -> dict[str, float]:
        """Return the end-point error of the averaged weights by set, in full-resolution pixels."""
        network = cast(FlowNetwork, self.average.module).eval()
        return errors_of(network, self.normalise, validation, self.device)

    def report(self, training_epe: float, validation: Validation) -> dict[str, float]:
        """Validate, print, and append to the log."""
        scores = self.validate(validation)
        if self.quantiser is not None:
            average = self.average.module
            with self.quantiser.attach(average), self.quantiser.fake_quantised_weights(average):
                rounded = self.validate(validation)
            scores |= {f"{name}, int8": error for name, error in rounded.items()}
        line = {"step": self.step, "training_epe": round(training_epe, 4), "epe": scores}
        with (self.folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)
        return scores

    def export(self, validation: Validation) -> Path:
        """Write the averaged weights in half precision, with the error measured on them.

        Rounding to half precision costs less than 0.001 px and halves the file. The error is that
        of the rounded weights, which fp16 and fp32 bundles then use unchanged.
        """
        average = self.average.module
        for parameter in average.parameters():
            parameter.data = parameter.data.half().float()
        metadata = {
            "network": self.config.network,
            "normalisation": self.normalisation,
            **origin_of(
                self.config.data, self.step, self.initial.metadata if self.initial else None
            ),
            "epe": json.dumps(self.validate(validation)),
        }
        if self.initial and UPSAMPLING in self.initial.metadata:
            metadata[UPSAMPLING] = self.initial.metadata[UPSAMPLING]
        path = self.folder / f"{self.config.network}.safetensors"
        # Statistics of a batch normalisation stay as they are: its counter is an integer.
        halved = {name for name, _ in average.named_parameters()}
        state = {
            name: value.half() if name in halved else value
            for name, value in average.state_dict().items()
        }
        save_weights(path, state, metadata)
        return path


def _without_batch_statistics(network: FlowNetwork) -> FlowNetwork:
    """Freeze batch normalisations, as RAFT's training does from its second stage on (train.py)."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return network


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
