"""Train a network: ``python -m training.train --network flownets_slim --data synthetic --out RUN``.

A run is a folder: ``checkpoint.pt`` (written every so often, by rename; a killed run started again
with the same command goes on from it), ``log.jsonl`` (one line per report) and, at the end,
``<network>.safetensors`` with the averaged weights.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from training.augment import augment
from training.datasets import (
    DatasetStream,
    FlyingChairs,
    SyntheticStream,
    dataset_pairs,
    validation_pairs,
)
from training.losses import end_point_error, multiscale_loss
from training.networks import NETWORKS, build_network
from training.networks.layers import FlowNetwork
from training.normalise import NORMALISATIONS
from training.synthetic import Pairs, SyntheticPairs
from training.weights import load_weights, network_from_weights, save_weights

NORMALISATION = "fixed_mean"
VALIDATION_SEED = 2_000_000_000  # far from every training seed
MARGIN = 32  # source pixels around a crop, for the geometric augmentation to move in


def learning_rate(step: int, steps: int, peak: float, *, warmup: int = 200) -> float:
    """Rate at a step: warm-up, the papers' constant first third, then a fall to zero.

    The papers halve the rate at a third, half, two thirds and five sixths of the run (S_long of
    FlowNet 2.0); a straight line to zero follows the same course without steps.
    """
    fall = min(1.0, 1.5 * (1 - step / steps))
    return peak * min(1.0, (step + 1) / warmup) * max(fall, 0.0)


class Trainer:
    """The state of a run and what is done with it.

    Args:
        options: parsed command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.device = torch.device(options.device)
        self.folder = Path(options.out)
        self.folder.mkdir(parents=True, exist_ok=True)
        if options.init:
            network = network_from_weights(options.network, load_weights(options.init)).train()
        else:
            network = build_network(options.network, seed=options.seed)
        self.network: FlowNetwork = network.to(self.device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.normalise = NORMALISATIONS[NORMALISATION]().to(self.device)
        self.average = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(options.ema))
        decay = [p for p in self.network.parameters() if p.dim() > 1]
        rest = [p for p in self.network.parameters() if p.dim() <= 1]
        # The papers decay weights, not biases.
        groups = [{"params": decay, "weight_decay": options.weight_decay}, {"params": rest}]
        self.optimizer = torch.optim.AdamW(groups, lr=options.lr, weight_decay=0.0)
        self.step = 0
        self._resume()

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    def _resume(self) -> None:
        if not self.checkpoint.exists():
            return
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        if state["network_name"] != self.options.network:
            raise SystemExit(
                f"{self.checkpoint} is a run of {state['network_name']}, not of "
                f"{self.options.network}; choose another --out"
            )
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        print(f"resuming {self.folder} at step {self.step}")

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {
            "network_name": self.options.network,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
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
        # from a third of the run on ("The Devil in the Details", arXiv 2308.07378).
        occluded_weight = min(1.0, 3 * self.step / options.steps)
        weight = samples.valid * (1 - samples.occluded * (1 - occluded_weight))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, options.steps, options.lr)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            image1, image2 = self.normalise(samples.image1, samples.image2)
            flows = self.forward(
                image1.contiguous(memory_format=torch.channels_last),
                image2.contiguous(memory_format=torch.channels_last),
            )
        target = samples.flow / self.network.flow_scale
        loss = multiscale_loss(flows, target, weight)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.average.update_parameters(self.network)
        with torch.no_grad():
            small = F.avg_pool2d(target, self.network.output_stride)
            error = end_point_error(flows[0].float(), small).mean() * self.network.flow_scale
        return loss.detach(), error

    def run(self, stream: Iterator[Pairs], validation: dict[str, list[Pairs]]) -> None:
        """Train to the last step, reporting and saving as it goes."""
        options = self.options
        # On a GPU fused kernels pay; on a CPU compiling this network gains nothing.
        cuda = self.device.type == "cuda"
        self.forward = torch.compile(self.network) if cuda else self.network
        bar = tqdm(total=options.steps, initial=self.step, unit="step", mininterval=2)
        running, since = 0.0, time.perf_counter()
        while self.step < options.steps:
            _, error = self.train_step(next(stream))
            self.step += 1
            bar.update()
            running = running + (float(error) - running) * (0.02 if running else 1)
            if self.step % 10 == 0:
                speed = 10 * options.batch_size / (time.perf_counter() - since)
                since = time.perf_counter()
                bar.set_postfix(epe=f"{running:.2f}", samples=f"{speed:.1f}/s")
            if self.step % options.report_every == 0 or self.step == options.steps:
                self.report(running, validation)
                self.save()
                since = time.perf_counter()
        bar.close()

    @torch.no_grad()
    def validate(self, validation: dict[str, list[Pairs]]) -> dict[str, float]:
        """End-point error in full-resolution pixels of the averaged weights, per set."""
        network = self.average.module.eval()
        scores = {}
        for name, batches in validation.items():
            total, count = 0.0, 0
            for pairs in batches:
                pairs = pairs.to(self.device)
                images = self.normalise(pairs.image1.float(), pairs.image2.float())
                flow = network(*images)[0].float() * network.flow_scale
                flow = F.interpolate(
                    flow, size=pairs.flow.shape[-2:], mode="bilinear", align_corners=False
                )
                total += float(end_point_error(flow, pairs.flow).mean((1, 2, 3)).sum())
                count += len(pairs.flow)
            scores[name] = round(total / count, 4)
        return scores

    def report(self, training_epe: float, validation: dict[str, list[Pairs]]) -> dict[str, float]:
        """Validate, print, and append to the log."""
        scores = self.validate(validation)
        line = {"step": self.step, "training_epe": round(training_epe, 4), "epe": scores}
        with (self.folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
        tqdm.write(json.dumps(line), file=sys.stdout)
        sys.stdout.flush()
        return scores

    def export(self, validation: dict[str, list[Pairs]]) -> Path:
        """Write the averaged weights, rounded to half precision, with their measured error.

        Rounding costs under 0.001 px and halves the file; what is shipped is then exactly what
        was measured, in every precision from fp16 up.
        """
        average = self.average.module
        for parameter in average.parameters():
            parameter.data = parameter.data.half().float()
        metadata = {
            "network": self.options.network,
            "normalisation": NORMALISATION,
            "licence": "MIT",
            "source": "trained with python -m training.train",
            "data": self.options.data,
            "steps": str(self.step),
            "epe": json.dumps(self.validate(validation)),
            "commit": commit(),
        }
        path = self.folder / f"{self.options.network}.safetensors"
        state = {name: value.half() for name, value in average.state_dict().items()}
        save_weights(path, state, metadata)
        return path


def commit() -> str:
    """The source's git commit, or "unknown" outside a checkout."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True
        )
    except FileNotFoundError:
        return "unknown"
    return found.stdout.strip() or "unknown"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__)
    parser.add_argument("--network", default="flownets_slim", choices=list(NETWORKS))
    parser.add_argument("--data", default="synthetic", help="synthetic, or chairs:FOLDER")
    parser.add_argument("--validate", default=None, metavar="chairs:FOLDER")
    parser.add_argument("--out", required=True, metavar="RUN", help="the run's folder")
    parser.add_argument("--init", metavar="FILE", help="weights to start from instead of noise")
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--height", type=int, default=256, help="of the crop")
    parser.add_argument("--width", type=int, default=320, help="of the crop")
    parser.add_argument("--lr", type=float, default=4e-4, help="peak learning rate")
    parser.add_argument("--weight-decay", type=float, default=4e-4)
    parser.add_argument("--ema", type=float, default=0.998, help="decay of the weight average")
    parser.add_argument("--pool", type=int, default=2048, help="synthetic pairs kept")
    parser.add_argument("--fresh", type=int, default=1, help="synthetic pairs rendered per step")
    parser.add_argument("--report-every", type=int, default=500, help="steps")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.height % 64 or options.width % 64:
        parser.error(f"--height {options.height} --width {options.width}: multiples of 64 only")
    if options.steps < 1 or options.batch_size < 1:
        parser.error("--steps and --batch-size must be at least 1")
    return options


def chairs_folder(argument: str) -> Path:
    """The folder of a ``chairs:FOLDER`` argument."""
    kind, _, folder = argument.partition(":")
    if kind != "chairs" or not folder:
        raise SystemExit(f"--data {argument}: expected `synthetic` or `chairs:FOLDER`")
    return Path(folder)


def main(arguments: list[str] | None = None) -> None:
    """Train as the command line says."""
    options = parse(arguments)
    validation = {}
    if options.validate:
        real = FlyingChairs(chairs_folder(options.validate), split="validation")
        validation["chairs"] = dataset_pairs(real, 640)
    full = SyntheticPairs(384, 512, device=options.device)
    validation["synthetic"] = validation_pairs(full, count=32, seed=VALIDATION_SEED)
    trainer = Trainer(options)
    if options.data == "synthetic":
        renderer = SyntheticPairs(
            options.height + MARGIN, options.width + 2 * MARGIN, device=options.device
        )
        stream = iter(
            SyntheticStream(
                renderer,
                pool=options.pool,
                fresh=options.fresh,
                batch=options.batch_size,
                seed=options.seed,
                step=trainer.step,
            )
        )
    else:
        pairs = FlyingChairs(chairs_folder(options.data), split="train")
        stream = iter(
            DatasetStream(pairs, batch=options.batch_size, seed=options.seed + trainer.step)
        )
    trainer.run(stream, validation)
    path = trainer.export(validation)
    print(f"wrote {path}")
    print(f"next: python -m export.build_engine --network {options.network} --weights {path}")


if __name__ == "__main__":
    main()
