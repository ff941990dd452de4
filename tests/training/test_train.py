"""The training command: it learns, survives being killed, and writes usable weights."""

import json
from pathlib import Path

import pytest
import torch

from training.datasets import SyntheticStream
from training.synthetic import SyntheticPairs
from training.train import Trainer, learning_rate, main, parse
from training.weights import load_weights, network_from_weights


def options(folder: Path, *extra: str) -> list[str]:
    return [
        *("--out", str(folder), "--steps", "4", "--batch-size", "2", "--height", "64"),
        *("--width", "64", "--pool", "4", "--report-every", "2", "--device", "cpu", *extra),
    ]


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.005), (99, 0.5), (300, 1.0), (600, 0.6), (1000, 0.0)]
)
def test_learning_rate_by_hand(step: int, expected: float) -> None:
    assert learning_rate(step, 1000, 1.0) == pytest.approx(expected)


def test_command_trains_and_writes_weights(tmp_path: Path) -> None:
    main(options(tmp_path / "run"))
    weights = load_weights(tmp_path / "run" / "flownets_slim.safetensors")
    assert weights.metadata["steps"] == "4"
    assert json.loads(weights.metadata["epe"])["synthetic"] > 0
    network = network_from_weights("flownets_slim", weights)
    assert all(torch.isfinite(p).all() for p in network.parameters())
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4]


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    """Two steps, a stop, two more: the same weights as four in one go."""
    renderer = SyntheticPairs(96, 128)

    def run(folder: Path, stops: list[int]) -> Trainer:
        for stop in stops:
            trainer = Trainer(parse(options(folder)))
            stream = SyntheticStream(renderer, pool=4, fresh=1, batch=2, seed=0)
            batches = iter(stream)
            pairs = [next(batches) for _ in range(4)]
            trainer.forward = trainer.network
            while trainer.step < stop:
                trainer.train_step(pairs[trainer.step])
                trainer.step += 1
            trainer.save()
        return trainer

    torch.manual_seed(0)
    whole, parts = run(tmp_path / "a", [4]), run(tmp_path / "b", [2, 4])
    for one, two in zip(whole.network.parameters(), parts.network.parameters(), strict=True):
        torch.testing.assert_close(one, two)
    for one, two in zip(whole.average.parameters(), parts.average.parameters(), strict=True):
        torch.testing.assert_close(one, two)


def test_learns_to_see_a_shift(tmp_path: Path) -> None:
    """Overfit one batch: the error must fall far below that of answering zero."""
    trainer = Trainer(parse(options(tmp_path / "run", "--lr", "1e-3", "--steps", "400")))
    trainer.forward = trainer.network
    pairs = SyntheticPairs(96, 128).render(2, 0)
    first = float(trainer.train_step(pairs)[0])
    for _ in range(60):
        trainer.step = 250  # past the warm-up, always the same augmentation
        last = float(trainer.train_step(pairs)[0])
    assert last < 0.5 * first


def test_another_networks_run_is_refused(tmp_path: Path) -> None:
    Trainer(parse(options(tmp_path / "run"))).save()
    with pytest.raises(SystemExit, match="is a run of flownets_slim, not of flownets"):
        Trainer(parse(options(tmp_path / "run", "--network", "flownets")))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (("--height", "100"), "multiples of 64 only"),
        (("--steps", "0"), "at least 1"),
    ],
)
def test_bad_options(
    tmp_path: Path, extra: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(options(tmp_path, *extra))
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("data", ["chairs:", "sintel:somewhere", "folder"])
def test_unknown_data(tmp_path: Path, data: str) -> None:
    with pytest.raises(SystemExit, match="expected `synthetic` or `chairs:FOLDER`"):
        main(options(tmp_path / "run", "--data", data))


def test_starts_from_given_weights(tmp_path: Path) -> None:
    main(options(tmp_path / "first"))
    file = tmp_path / "first" / "flownets_slim.safetensors"
    trainer = Trainer(parse(options(tmp_path / "second", "--init", str(file))))
    for name, value in load_weights(file).state_dict.items():
        assert torch.equal(trainer.network.state_dict()[name], value.float())
