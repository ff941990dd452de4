"""Train a network: ``python -m training.train --network flownets_slim --data synthetic --out RUN``.

A run is a folder: ``checkpoint.pt`` (written every so often, by rename; a killed run started again
with the same command goes on from it), ``log.jsonl`` (one line per report) and, at the end,
``<network>.safetensors`` with the averaged weights.
"""

import argparse
import hashlib
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from training.config import PRECISIONS, parse
from training.data.augment import augment
from training.data.pairs import Pairs
from training.data.streams import DatasetStream, SyntheticStream
from training.int8.fake_quant import Int8Rounding
from training.int8.ranges import Equalisation
from training.losses import end_point_error, multiscale_loss
from training.networks import build_network
from training.networks.layers import FlowNetwork
from training.normalise import NORMALISATIONS
from training.optimizer import Optimizer
from training.origin import origin_of
from training.synthetic.render import SyntheticPairs
from training.validation import Validation, errors_of, open_validation
from training.weights import equalisation_from, network_from_weights, save_weights, tensors_from

OBSERVED_EVERY = 20  # steps between looks at what int8's ranges have to hold
# Of a batch, so that a range that holds the largest value does not grow with the batch.
OBSERVED_PAIRS = 8
MARGIN = 32  # source pixels around a crop, for the geometric augmentation to move in


def learning_rate(step: int, share: float, peak: float, *, warmup: int = 200) -> float:
    """Rate at a step, ``share`` (0 to 1) into the run.

    Warm-up, the papers' constant first third, then a fall to zero.

    The papers halve the rate at a third, half, two thirds and five sixths of the run (S_long of
    FlowNet 2.0); a straight line to zero follows the same course without steps.
    """
    fall = min(1.0, 1.5 * (1 - share))
    return peak * min(1.0, (step + 1) / warmup) * max(fall, 0.0)


class Trainer:
    """The state of a run and what is done with it.

    Args:
        options: parsed command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.device = torch.device(options.device)
        self.folder: Path = options.out
        if options.initial:
            network = network_from_weights(options.network, options.initial).train()
            self.normalisation = options.initial.metadata["normalisation"]
        else:
            network = build_network(options.network, seed=options.seed)
            self.normalisation = "centred"
        self.network: FlowNetwork = network.to(self.device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # On a GPU fused kernels pay; on a CPU compiling this network gains nothing.
        cuda = self.device.type == "cuda"
        torch.backends.cudnn.benchmark = True
        self.forward = torch.compile(self.network) if cuda else self.network
        self.normalise = NORMALISATIONS[self.normalisation]().to(self.device)
        self.average = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(options.ema))
        self.dtype = PRECISIONS[options.precision]
        self.optimizer = Optimizer(
            self.network, lr=options.lr, weight_decay=options.weight_decay, dtype=self.dtype
        )
        self.step = 0
        self.seconds = 0.0  # spent in `run`
        self.began = _sha256(options.init) if options.init else "noise"
        self.rounding = Int8Rounding(self.network) if options.int8 else None
        if self.rounding and options.initial and options.initial.int8:
            self.rounding.go_on_from(options.initial.int8)
        self._resume()
        if self.equalisation and self.rounding:
            self.rounding.attach(self.network)

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    @property
    def equalisation(self) -> Equalisation | None:
        """What int8's rounding rounds by."""
        return self.rounding.equalisation if self.rounding else None

    @property
    def share(self) -> float:
        """How much of the run is done, 0 to 1: of its steps, or of its time with ``--minutes``."""
        if self.options.minutes is None:
            return min(1.0, self.step / self.options.steps)
        return min(1.0, self.seconds / (60 * self.options.minutes))

    def _resume(self) -> None:
        """Go on from the checkpoint, if there is one."""
        if not self.checkpoint.exists():
            return
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        if "Muon" not in state["optimizer"]:
            raise SystemExit(
                f"{self.checkpoint} is a run of an older version, whose optimizer was another; "
                "choose another --out to begin anew"
            )
        if state["network_name"] != self.options.network:
            raise SystemExit(
                f"{self.checkpoint} is a run of {state['network_name']}, not of "
                f"{self.options.network}; choose another --out"
            )
        if state["began"] != self.began:
            raise SystemExit(
                f"{self.checkpoint} is a run that began with other weights (--init); give the same "
                "ones to go on with it, or choose another --out to begin anew"
            )
        # What the weights may be used for depends on all that they have seen.
        if state.get("data", self.options.data) != self.options.data:
            raise SystemExit(
                f"{self.checkpoint} is a run on --data {state['data']}; give the same to go on "
                "with it, or choose another --out to begin anew"
            )
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        for group in self.optimizer.param_groups:  # else it is what it was
            group["weight_decay"] = self.options.weight_decay
        self.step = state["step"]
        self.seconds = state["seconds"]
        ranges = equalisation_from(state.get("int8", {}))
        if self.rounding and ranges:
            self.rounding.go_on_from(ranges, state.get("observations"))
        print(f"resuming {self.folder} at step {self.step}")

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {
            "network_name": self.options.network,
            "began": self.began,
            "data": self.options.data,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "int8": tensors_from(self.equalisation),
            "observations": self.rounding.observations if self.rounding else 0,
        }
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        os.replace(partial, self.checkpoint)

    def train_step(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """One update; returns the loss and the end-point error in pixels at 1/4 resolution."""
        options = self.options
        crop = (options.height, options.width)
        samples = augment(pairs.to(self.device), crop, options.seed + self.step)
        # Occluded pixels cannot be matched, only guessed: they count less at first and in full
        # from a third of the run on ("The Devil in the Details", arXiv 2308.07378). Trained weights
        # guess them already, and would forget it.
        occluded_weight = 1.0 if options.initial else min(1.0, 3 * self.share)
        weight = samples.valid * (1 - samples.occluded * (1 - occluded_weight))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.share, options.lr)
        lower = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype, enabled=lower):
            images = [
                image.contiguous(memory_format=torch.channels_last)
                for image in self.normalise(samples.image1, samples.image2)
            ]
            self._follow_ranges(images)
        target = samples.flow / self.network.flow_scale
        self.optimizer.zero_grad()
        # Autocast once more: within one context it keeps the weights that it has cast, unrounded.
        with self.rounding.rounded_weights(self.network) if self.rounding else nullcontext():
            with torch.autocast(self.device.type, self.dtype, enabled=lower):
                flows = self.forward(*images)
            loss = multiscale_loss(flows, target, weight)
            loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.average.update_parameters(self.network)
        with torch.no_grad():
            small = F.avg_pool2d(target, self.network.output_stride)
            error = end_point_error(flows[0].float(), small).mean() * self.network.flow_scale
        return loss.detach(), error

    def _follow_ranges(self, images: list[Tensor]) -> None:
        if self.rounding is None:
            return
        begins = self.rounding.equalisation is None
        if begins or self.step % OBSERVED_EVERY == 0:
            try:
                self.rounding.observe(self.network, *(image[:OBSERVED_PAIRS] for image in images))
            except ValueError as error:
                raise SystemExit(self._diverged(str(error))) from error
        if begins:
            self.rounding.attach(self.network)

    def run(self, stream: Iterator[Pairs], validation: Validation) -> None:
        """Train to the end, in steps or in time, reporting and saving as it goes."""
        options = self.options
        total = options.steps if options.minutes is None else None
        bar = tqdm(total=total, initial=self.step, unit="step", mininterval=2)
        # Read seldom: reading waits for the GPU.
        running, since = torch.zeros((), device=self.device), time.perf_counter()
        start, first = since - self.seconds, self.step
        while self.share < 1:
            _, error = self.train_step(next(stream))
            self.step += 1
            self.seconds = time.perf_counter() - start
            bar.update()
            running.lerp_(error, max(0.02, 1 / (self.step - first)))
            if self.step % 10 == 0:
                speed = 10 * options.batch_size / (time.perf_counter() - since)
                since = time.perf_counter()
                bar.set_postfix(epe=f"{float(running):.2f}", samples=f"{speed:.1f}/s")
            if self.step % options.report_every == 0 or self.share == 1:
                if not all(values.isfinite().all() for values in self.network.parameters()):
                    raise SystemExit(self._diverged("weights are no finite numbers any more"))
                self.report(float(running), validation)
                self.save()
                since = time.perf_counter()
        bar.close()

    def _diverged(self, how: str) -> str:
        kept = f"{self.checkpoint} is as it was" if self.checkpoint.exists() else "nothing is kept"
        return f"the run diverged before step {self.step}: {how}; {kept}. Lower --lr"

    def validate(self, validation: Validation) -> dict[str, float]:
        """End-point error in full-resolution pixels of the averaged weights, per set."""
        network = cast(FlowNetwork, self.average.module).eval()
        return errors_of(network, self.normalise, validation, self.device)

    def report(self, training_epe: float, validation: Validation) -> dict[str, float]:
        """Validate, print, and append to the log."""
        scores = self.validate(validation)
        if self.rounding is not None:
            average = self.average.module
            with self.rounding.attach(average), self.rounding.rounded_weights(average):
                rounded = self.validate(validation)
            scores |= {f"{name}, int8": error for name, error in rounded.items()}
        line = {"step": self.step, "training_epe": round(training_epe, 4), "epe": scores}
        with (self.folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        tqdm.write(json.dumps(line), file=sys.stdout)
        sys.stdout.flush()
        return scores

    def export(self, validation: Validation) -> Path:
        """Write the averaged weights, rounded to half precision, with their measured error.

        Rounding costs under 0.001 px and halves the file; what is shipped is then exactly what
        was measured, in every precision from fp16 up.
        """
        average = self.average.module
        for parameter in average.parameters():
            parameter.data = parameter.data.half().float()
        options, initial = self.options, self.options.initial
        metadata = {
            "network": options.network,
            "normalisation": self.normalisation,
            **origin_of(options.data, self.step, initial and initial.metadata),
            "epe": json.dumps(self.validate(validation)),
        }
        path = self.folder / f"{options.network}.safetensors"
        state = {name: value.half() for name, value in average.state_dict().items()}
        save_weights(path, state, metadata, self.equalisation)
        return path


def _sha256(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def open_stream(options: argparse.Namespace, step: int) -> Iterator[Pairs]:
    """The training batches from a step on."""
    if options.training is not None:
        return iter(
            DatasetStream(options.training, batch=options.batch_size, seed=options.seed, step=step)
        )
    renderer = SyntheticPairs(
        options.height + MARGIN, options.width + 2 * MARGIN, device=options.device
    )
    return iter(
        SyntheticStream(
            renderer,
            pool=options.pool,
            fresh=options.fresh,
            every=options.fresh_every,
            batch=options.batch_size,
            seed=options.seed,
            step=step,
        )
    )


def main(arguments: list[str] | None = None) -> None:
    """Train as the command line says."""
    options = parse(arguments)
    trainer = Trainer(options)
    try:
        validation = open_validation(options)
    except (ValueError, OSError) as error:
        raise SystemExit(f"--validate {options.validate}: {error}") from error
    if trainer.share < 1:
        trainer.run(open_stream(options, trainer.step), validation)
    path = trainer.export(validation)
    print(f"wrote {path}")
    print(
        f"next: python -m export.build_engine --network {options.network} "
        f"--weights {shlex.quote(str(path))} -o build/{options.network}"
    )


if __name__ == "__main__":
    main()
