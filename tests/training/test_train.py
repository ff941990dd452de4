"""The training command: it learns, survives being killed, and writes usable weights."""

import json
import re
import shlex
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from engine.flow.formats import write_flow
from engine.images import write_image
from export.options import parse as parse_build
from tests.support.pictures import image
from training.config import TrainingError, parse
from training.data.batch import PairBatch
from training.data.streams import SyntheticStream
from training.inputs import open_inputs
from training.networks import NETWORKS, build_network
from training.networks.flownets import FlowNetS
from training.normalise import PairMean
from training.schedules import SCHEDULES
from training.synthetic.__main__ import main as render
from training.synthetic.render import SyntheticPairs
from training.train import main
from training.trainer import Trainer
from training.weights import (
    METADATA_KEYS,
    load_weights,
    network_from_weights,
    save_weights,
    shipped_weights,
)


def options(folder: Path, *extra: str, length: tuple[str, str] = ("--steps", "4")) -> list[str]:
    rendering = () if "--data" in extra else ("--pool", "4")
    return [
        *("--network", "narrow", "--out", str(folder), *length, "--batch-size", "2"),
        *(
            "--height",
            "64",
            "--width",
            "64",
            *rendering,
            "--report-every",
            "2",
            "--device",
            "cpu",
            *extra,
        ),
    ]


def trainer_for(arguments: list[str]) -> Trainer:
    """As the command creates it."""
    config = parse(arguments)
    inputs = open_inputs(config)
    config.out.mkdir(parents=True, exist_ok=True)
    return Trainer(config, inputs.initial)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A narrow network and small validation pairs: a step takes a tenth of the time."""
    entry = replace(NETWORKS["flownets_slim"], build=lambda: FlowNetS(width=1 / 8))
    monkeypatch.setitem(NETWORKS, "narrow", entry)
    monkeypatch.setattr(
        "training.validation.SyntheticPairs",
        lambda *_, device: SyntheticPairs(64, 64, device=device),
    )


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


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    """Two steps, a stop, two more: the same weights as four in one go."""
    renderer = SyntheticPairs(96, 128)

    def run(folder: Path, stops: list[int]) -> Trainer:
        for stop in stops:
            trainer = trainer_for(options(folder))
            stream = SyntheticStream(renderer, pool=4, fresh=1, batch=2, seed=0, step=trainer.step)
            batches = iter(stream)
            while trainer.step < stop:
                trainer.train_step(next(batches))
                trainer.step += 1
            trainer.save()
        return trainer

    whole, parts = run(tmp_path / "a", [4]), run(tmp_path / "b", [2, 4])
    for one, two in zip(whole.network.parameters(), parts.network.parameters(), strict=True):
        torch.testing.assert_close(one, two)
    for one, two in zip(whole.average.parameters(), parts.average.parameters(), strict=True):
        torch.testing.assert_close(one, two)


def test_a_run_with_int8_reports_the_error_of_int8(tmp_path: Path) -> None:
    assert main(options(tmp_path / "run", "--int8")) == 0
    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["epe"].keys() for line in lines] == [
        {"synthetic", "synthetic, int8"}
    ] * 2
    weights = load_weights(tmp_path / "run" / "narrow.safetensors")
    assert weights.state_dict.keys() == build_network("narrow", seed=0).state_dict().keys()


def test_a_run_of_another_version_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its checkpoint is not touched."""
    folder = tmp_path / "run"
    main(options(folder))
    content = torch.load(folder / "checkpoint.pt", weights_only=True)
    for older in (content | {"facts": {"version": 1}}, content["state"]):
        torch.save(older, folder / "checkpoint.pt")
        before = (folder / "checkpoint.pt").read_bytes()
        assert main(options(folder)) == 2
        assert "was written by another version of this project; choose" in capsys.readouterr().err
        assert (folder / "checkpoint.pt").read_bytes() == before


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
    monkeypatch.setattr("training.train.open_stream", lambda *_: repeat(pairs))
    monkeypatch.setattr("training.train.open_validation", lambda *_: {})
    arguments = options(tmp_path / "run", "--lr", "1", length=("--minutes", "1"))
    with pytest.raises(KeyboardInterrupt):
        main(arguments)  # the last report, which saves, was after two steps
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


def test_another_networks_run_is_refused(tmp_path: Path) -> None:
    trainer_for(options(tmp_path / "run")).save()
    with pytest.raises(TrainingError, match="is a run of narrow, not of flownets"):
        trainer_for(options(tmp_path / "run", "--network", "flownets"))


def test_a_run_that_started_from_other_weights_is_refused(tmp_path: Path) -> None:
    """Else the old run's weights would be written with the history of the new ones."""
    slim = ("--network", "flownets_slim")
    shipped = (*slim, "--init", str(shipped_weights("flownets_slim")))
    for first, then in ((slim, shipped), (shipped, slim)):
        run = tmp_path / f"run{len(first)}"
        trainer_for(options(run, *first)).save()
        trainer_for(options(run, *first))
        with pytest.raises(TrainingError, match="started from other weights"):
            trainer_for(options(run, *then))


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (("--height", "100"), "expected multiples of 64"),
        (("--steps", "0"), "'0' is not a count; expected a whole number of at least 1"),
        (("--pool", "many"), "'many' is not a count"),
        (("--minutes", "soon"), "'soon' is out of range; expected a number larger than 0"),
        (("--lr", "nan"), "'nan' is out of range; expected a number larger than 0"),
        (("--lr", "-1"), "'-1' is out of range; expected a number larger than 0"),
        (("--weight-decay", "-1"), "'-1' is out of range; expected a number of at least 0"),
        (("--ema", "2"), "'2' is out of range; expected a number of at least 0 and less than 1"),
        (("--out", __file__), "test_train.py is a file; expected a folder"),
        (("--minutes", "3"), "not allowed with argument --steps"),
        (("--device", "warp"), "--device warp: PyTorch"),
        (("--pool", "1"), "expected at least --batch-size"),
        (("--network", "flownet"), "Did you mean 'flownets'?"),
        (("--init", "none.safetensors"), "none.safetensors: no such weights file"),
        (("--recipe", "chair"), "invalid choice: 'chair'"),
        (("--optimizer", "sgd"), "invalid choice: 'sgd'"),
        (("--data", "chairs:"), "'chairs:' names no folder; expected DIR or chairs:DIR"),
        (("--data", "sintel:x"), "x does not exist; expected a folder with sintel: check the path"),
        (("--validate", "x"), "x does not exist; expected a folder of pictures"),
        (("--data", "chairs:none"), "none does not exist"),
        (
            ("--data", "chairs:x", "--fresh-every", "2"),
            "--fresh-every 2: applies to --data",
        ),
        (("--seed", "-1"), "'-1' is out of range; expected a whole number from 0 to 1,000,000,000"),
        (("--seed", "9" * 20), "expected a whole number from 0 to"),
    ],
)
def test_bad_options(
    tmp_path: Path, extra: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(options(tmp_path / "run", *extra))
    except SystemExit as error:  # argparse
        code = error.code
    assert code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf"])
def test_no_time_is_refused(
    tmp_path: Path, minutes: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(["--out", str(tmp_path / "run"), "--minutes", minutes])
    assert (
        f"'{minutes}' is out of range; expected a number larger than 0" in capsys.readouterr().err
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(options(tmp_path / "run", "--device", "cuda"))
    assert caught.value.code == 2
    assert "or cuda on a machine with an NVIDIA GPU and a CUDA build" in capsys.readouterr().err


def chairs(folder: Path, size: str = "96x128") -> Path:
    render(["--pairs", "4", "--size", size, "-o", str(folder)])
    return folder


def test_trains_on_a_folder(tmp_path: Path) -> None:
    """The second folder's pairs are no multiples of 64: padded as the runtime pads."""
    data, other = chairs(tmp_path / "data"), chairs(tmp_path / "other", "70x90")
    run = tmp_path / "run"
    main(options(run, "--data", f"chairs:{data}", "--validate", f"chairs:{other}", "--steps", "2"))
    metadata = load_weights(run / "narrow.safetensors").metadata
    assert metadata["licence"] == "as of chairs:data"
    assert json.loads(metadata["epe"]).keys() == {"chairs, 4 pairs", "synthetic"}


def test_validation_on_training_pairs_is_refused(tmp_path: Path) -> None:
    data = chairs(tmp_path / "data")
    both = ("--data", f"chairs:{data}", "--validate", f"chairs:{data}")
    with pytest.raises(TrainingError, match="these are the training pairs"):
        trainer_for(options(tmp_path / "run", *both))
    # By another name, too.
    (tmp_path / "link").symlink_to(data)
    for other in (f"{data}/", tmp_path / "link"):
        with pytest.raises(TrainingError, match="these are the training pairs"):
            trainer_for(options(tmp_path / "run", *both[:3], f"chairs:{other}"))
    (data / "FlyingChairs_train_val.txt").write_text("1\n1\n2\n1\n")
    assert len(open_inputs(parse(options(tmp_path / "run", *both))).validation) == 1


def test_pairs_that_do_not_fill_a_batch_are_refused(tmp_path: Path) -> None:
    data = ("--data", f"chairs:{chairs(tmp_path / 'data')}", "--batch-size", "5")
    with pytest.raises(TrainingError, match="4 pairs do not fill a batch of 5; lower --batch-size"):
        trainer_for(options(tmp_path / "run", *data))


def test_pairs_of_different_sizes_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, other = chairs(tmp_path / "data"), chairs(tmp_path / "other", "70x90")
    for part in ("img1.ppm", "img2.ppm", "flow.flo"):
        (other / f"00002_{part}").replace(data / f"00002_{part}")
    assert main(options(tmp_path / "run", "--data", f"chairs:{data}")) == 2
    said = capsys.readouterr().err
    assert "its pair is of 96x128, the smallest sides are 70 and 90; expected nearly one" in said


def test_trains_on_sparse_flow_of_several_sizes(tmp_path: Path) -> None:
    """KITTI's flow is known at a quarter of the pixels, and its pairs differ by a few of them."""
    rng = np.random.default_rng(0)
    for scene, size in (("000000", (96, 128)), ("000001", (94, 129)), ("000010", (95, 127))):
        flow = rng.normal(0, 3, (*size, 2)).astype(np.float32)
        flow[rng.random(size) < 0.75] = np.nan
        training = tmp_path / "training"
        for frame in ("10", "11"):
            write_png(training / "image_2" / f"{scene}_{frame}.png", size)
        (training / "flow_occ").mkdir(exist_ok=True)
        write_flow(training / "flow_occ" / f"{scene}_10.png", flow)
    run, source = tmp_path / "run", f"kitti2015:{tmp_path}"
    main(options(run, "--data", source, "--validate", source, "--steps", "2"))
    errors = json.loads(load_weights(run / "narrow.safetensors").metadata["epe"])
    assert errors.keys() == {"kitti2015, 1 pairs", "synthetic"}
    assert 0 < errors["kitti2015, 1 pairs"] < 100


def write_png(path: Path, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, image(*size, 1))


def test_a_file_that_spoils_the_validation_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = chairs(tmp_path / "data")
    (data / "00002_img2.ppm").write_bytes(b"P6")
    assert main(options(tmp_path / "run", "--validate", f"chairs:{data}")) == 2
    said = capsys.readouterr().err
    assert re.match(r"error: --validate chairs:.*00002_img2.ppm is not a picture", said)


@pytest.mark.parametrize("int8", [(), ("--int8",)])
def test_a_run_that_diverges_keeps_what_was_good(tmp_path: Path, int8: tuple[str, ...]) -> None:
    trainer = trainer_for(options(tmp_path / "run", *int8))
    trainer.save()
    before = trainer.checkpoint.read_bytes()
    with torch.no_grad():
        next(trainer.network.parameters()).fill_(torch.nan)
    images = torch.zeros(2, 3, 96, 128, dtype=torch.uint8)
    pairs = PairBatch.all_visible(images, images, torch.zeros(2, 2, 96, 128))
    with pytest.raises(
        TrainingError, match=r"diverged before step .+checkpoint.pt is unchanged\. Low"
    ):
        trainer.run(repeat(pairs), {})
    assert trainer.checkpoint.read_bytes() == before
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_a_resumed_run_decays_weights_as_it_is_told(tmp_path: Path) -> None:
    trainer_for(options(tmp_path / "run", "--weight-decay", "0.3")).save()
    trainer = trainer_for(options(tmp_path / "run", "--weight-decay", "0.7"))
    assert [group["weight_decay"] for group in trainer.optimizer.param_groups] == [0.7, 0.7, 0.0]


def test_weights_with_another_normalisation_are_refused(tmp_path: Path) -> None:
    weights = load_weights(shipped_weights("flownets_slim"))
    metadata = weights.metadata | {"normalisation": "pear_mean"}
    save_weights(tmp_path / "x.safetensors", weights.state_dict, metadata)
    other = ("--network", "flownets_slim", "--init", str(tmp_path / "x.safetensors"))
    with pytest.raises(TrainingError, match="its normalisation is 'pear_mean'; expected one of"):
        trainer_for(options(tmp_path / "run", *other))


def test_a_run_on_other_data_is_not_gone_on_with(tmp_path: Path) -> None:
    """Else weights would be said to have seen, and be licensed as, what came last alone."""
    data = f"chairs:{chairs(tmp_path / 'data')}"
    trainer_for(options(tmp_path / "run", "--data", data)).save()
    with pytest.raises(TrainingError, match=rf"is a run on --data {data}; give the same"):
        trainer_for(options(tmp_path / "run"))
    trainer_for(options(tmp_path / "run", "--data", data))


def test_a_resumed_int8_run_observes_as_an_uninterrupted_one(tmp_path: Path) -> None:
    """The window of observed batches is part of the checkpoint."""
    batches = torch.rand(6, 2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    whole, killed = (trainer_for(options(tmp_path / run, "--int8")) for run in ("a", "b"))
    for trainer in (whole, killed):
        for images in batches[:3]:
            trainer.quantiser.observe(trainer.network, *images)
    killed.save()
    whole.quantiser.attach(whole.network)  # as a run does once there are ranges
    resumed = trainer_for(options(tmp_path / "b", "--int8"))
    for trainer in (whole, resumed):
        for images in batches[3:]:
            trainer.quantiser.observe(trainer.network, *images)
    assert resumed.quantiser.observations == 6
    assert resumed.quantiser.parameters.ranges == whole.quantiser.parameters.ranges


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
