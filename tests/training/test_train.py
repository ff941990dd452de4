"""The training command: it learns, survives being killed, and writes usable weights."""

import json
import shlex
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from export.options import parse as parse_build
from tests.training.runs import options, trainer_for
from training.config import TrainingError
from training.data.batch import PairBatch
from training.data.streams import SyntheticStream
from training.networks import build_network
from training.normalise import PairMean
from training.schedules import SCHEDULES
from training.synthetic.render import SyntheticPairs
from training.train import main
from training.trainer import Trainer
from training.weights import METADATA_KEYS, load_weights, network_from_weights, save_weights

pytestmark = pytest.mark.usefixtures("narrow_network")


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("linear", {0: 0.005, 99: 0.5, 300: 1.0, 600: 0.6, 1000: 0.0}),
        ("s_long", {0: 1.0, 333: 1.0, 334: 0.5, 500: 0.25, 667: 0.125, 834: 0.0625, 999: 0.0625}),
        ("constant", {0: 1.0, 999: 1.0}),
    ],
)
def test_learning_rates_by_hand(name: str, rates: dict[int, float]) -> None:
    found = {step: SCHEDULES[name](step, step / 1000) for step in rates}
    assert found == pytest.approx(rates)


def test_command_trains_and_writes_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a run"
    main(options(folder))
    last = capsys.readouterr().out.splitlines()[-1]
    following = shlex.split(last.removeprefix("next: python -m export.build_engine "))
    assert parse_build(following).weights == folder / "narrow.safetensors"
    folder.rename(tmp_path / "run")
    weights = load_weights(tmp_path / "run" / "narrow.safetensors")
    assert weights.metadata["steps"] == "4"
    assert json.loads(weights.metadata["epe"])["synthetic"] > 0
    network = network_from_weights("narrow", weights)
    assert all(torch.isfinite(p).all() for p in network.parameters())
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4]


@pytest.mark.parametrize("int8", [(), ("--int8",)])
def test_a_killed_run_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, int8: tuple[str, ...]
) -> None:
    """Three steps, a stop, three more: the same as six in one go, to the bit."""
    monkeypatch.setattr("training.trainer.OBSERVED_EVERY", 1)  # more than its window holds
    renderer = SyntheticPairs(96, 128)

    def run(folder: Path, stops: list[int]) -> Trainer:
        for stop in stops:
            trainer = trainer_for(options(folder, "--steps", "6", *int8))
            stream = SyntheticStream(renderer, pool=4, fresh=1, batch=2, seed=0, step=trainer.step)
            batches = iter(stream)
            while trainer.step < stop:
                trainer.train_step(next(batches))
                trainer.step += 1
            trainer.save()
        return trainer

    run(tmp_path / "a", [6])
    run(tmp_path / "b", [3, 6])
    whole, parts = (
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["state"] for name in "ab"
    )
    assert_equal(whole, parts)


def assert_equal(one: object, other: object) -> None:
    """All tensors and numbers, at any depth."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for item, another in zip(one, other, strict=True):
            assert_equal(item, another)
    else:
        assert one == other


def test_a_run_with_int8_reports_the_error_of_int8(tmp_path: Path) -> None:
    assert main(options(tmp_path / "run", "--int8")) == 0
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["epe"].keys() for line in lines] == [
        {"synthetic", "synthetic, int8"}
    ] * 2
    weights = load_weights(tmp_path / "run" / "narrow.safetensors")
    assert weights.state_dict.keys() == build_network("narrow", seed=0).state_dict().keys()


def test_checkpoints_are_also_written_between_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.trainer.SAVE_EVERY", 0.0)
    steps = Trainer.train_step

    def interrupted(self: Trainer, pairs: PairBatch) -> tuple[torch.Tensor, torch.Tensor]:
        if self.step == 2:
            raise KeyboardInterrupt
        return steps(self, pairs)

    monkeypatch.setattr(Trainer, "train_step", interrupted)
    arguments = options(tmp_path / "run", "--report-every", "100")
    assert main(arguments) == 130
    assert trainer_for(arguments).step == 2
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_a_time_limit_is_the_length_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten seconds a step make six steps a minute, also where a killed run had done two of them."""
    clock, rates = [1000.0], []
    monkeypatch.setattr("training.trainer.time", SimpleNamespace(perf_counter=lambda: clock[0]))
    train_step = Trainer.train_step

    def slow_step(self: Trainer, pairs: PairBatch) -> tuple[torch.Tensor, torch.Tensor]:
        clock[0] += 10
        result = train_step(self, pairs)
        rates.append(self.optimizer.param_groups[0]["lr"])
        if len(rates) == 3:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(Trainer, "train_step", slow_step)
    images = torch.randint(0, 256, (2, 2, 3, 96, 128), dtype=torch.uint8)
    pairs = PairBatch(
        *images, torch.zeros(2, 2, 96, 128), torch.zeros(2, 1, 96, 128, dtype=torch.bool)
    )
    monkeypatch.setattr("training.run.open_stream", lambda *_: repeat(pairs))
    monkeypatch.setattr("training.run.open_validation", lambda *_: {})
    arguments = options(tmp_path / "run", "--lr", "1", length=("--minutes", "1"))
    assert main(arguments) == 130  # the last report, which saves, was after two steps
    clock[0] += 1e6  # however long nobody started it again
    main(arguments)
    assert rates[:2] + rates[3:] == pytest.approx(
        [(step + 1) / 200 * min(1, 1.5 * (1 - step / 6)) for step in range(6)]
    )
    weights = load_weights(tmp_path / "run" / "narrow.safetensors")
    assert weights.metadata["steps"] == "6"


def test_learns_to_see_a_shift(tmp_path: Path) -> None:
    """Overfit one batch: the error must fall far below that of answering zero."""
    trainer = trainer_for(options(tmp_path / "run", "--lr", "3e-3", "--steps", "400"))
    pairs = SyntheticPairs(96, 128).render(2, 0)
    first = float(trainer.train_step(pairs)[0])
    for _ in range(80):
        trainer.step = 250  # past the warm-up, always the same augmentation
        last = float(trainer.train_step(pairs)[0])
    assert last < 0.5 * first


def test_only_the_named_layers_are_trained(tmp_path: Path) -> None:
    trainer = trainer_for(options(tmp_path, "--only", "conv2,predict_flow2"))
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    images = torch.rand(2, 2, 3, 96, 128).mul(255).byte()
    trainer.train_step(PairBatch.all_visible(*images, torch.ones(2, 2, 96, 128)))
    after = trainer.network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    layers = ("conv2.0", "predict_flow2")
    assert changed == {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}


@pytest.mark.parametrize("int8", [(), ("--int8",)])
def test_a_run_that_diverges_keeps_what_was_good(tmp_path: Path, int8: tuple[str, ...]) -> None:
    trainer = trainer_for(options(tmp_path / "run", *int8))
    trainer.save()
    before = trainer.checkpoint.read_bytes()
    with torch.no_grad():
        next(trainer.network.parameters()).fill_(torch.nan)
    images = torch.zeros(2, 3, 96, 128, dtype=torch.uint8)
    pairs = PairBatch.all_visible(images, images, torch.zeros(2, 2, 96, 128))
    with pytest.raises(TrainingError, match=r"diverged before step .+\. Lower --lr"):
        trainer.run(repeat(pairs), {})
    assert trainer.checkpoint.read_bytes() == before
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_a_resumed_run_decays_weights_as_it_is_told(tmp_path: Path) -> None:
    trainer_for(options(tmp_path / "run", "--weight-decay", "0.3")).save()
    trainer = trainer_for(options(tmp_path / "run", "--weight-decay", "0.7"))
    assert [group["weight_decay"] for group in trainer.optimizer.param_groups] == [0.7, 0.7, 0.0]


def test_starts_from_given_weights_and_says_so(tmp_path: Path) -> None:
    """Their normalisation, licence and steps go along."""
    state = build_network("narrow", seed=1).state_dict()
    other = str(tmp_path / "other.safetensors")
    known = {"network": "narrow", "normalisation": "pair_mean", "epe": "{}"}
    save_weights(other, state, dict.fromkeys(METADATA_KEYS, "unknown") | known)
    main(options(tmp_path / "run", "--init", other, "--steps", "1"))
    metadata = load_weights(tmp_path / "run" / "narrow.safetensors").metadata
    assert metadata["normalisation"] == "pair_mean"
    assert metadata["licence"] == "unknown and MIT"
    assert metadata["steps"] == "unknown + 1"
    trainer = trainer_for(options(tmp_path / "second", "--init", other))
    assert isinstance(trainer.normalise, PairMean)
    for name, value in state.items():
        assert torch.equal(trainer.network.state_dict()[name], value)


def test_recurrent_network_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RAFT takes no less than 128 pixels a side; validation pairs of 64 are padded."""
    monkeypatch.setattr("training.networks.raft.network.ITERATIONS", 2)
    sizes = ("--height", "128", "--width", "128", "--steps", "1", "--batch-size", "1")
    assert main([*options(tmp_path / "run"), "--network", "raft_small", *sizes]) == 0
    weights = load_weights(tmp_path / "run" / "raft_small.safetensors")
    assert weights.metadata["normalisation"] == "minus_one_to_one"
    assert np.isfinite(json.loads(weights.metadata["epe"])["synthetic"])
