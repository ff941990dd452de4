"""Options, runs and weights that the training command refuses."""

from pathlib import Path

import pytest
import torch

from tests.training.runs import chairs, options, trainer_for
from training.config import TrainingError, parse
from training.train import main
from training.weights import load_weights, save_weights, shipped_weights

pytestmark = pytest.mark.usefixtures("narrow_network")


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
        (("--out", __file__), "test_train_refused.py is a file; expected a folder"),
        (("--minutes", "3"), "not allowed with argument --steps"),
        (("--device", "warp"), "--device warp: PyTorch"),
        (("--pool", "1"), "expected at least --batch-size"),
        (("--network", "flownet"), "Did you mean 'flownets'?"),
        (("--init", "none.safetensors"), "none.safetensors: no such weights file"),
        (("--recipe", "chair"), "invalid choice: 'chair'"),
        (
            ("--only", "conv"),
            "narrow has no such layer; expected some of conv3_1, conv3_1.0,",
        ),
        (("--only", "conv1,"), "'conv1,' has an empty name"),
        (("--optimizer", "sgd"), "invalid choice: 'sgd'"),
        (("--data", "chairs:"), "'chairs:' names no folder; expected DIR or chairs:DIR"),
        (("--data", "sintel:x"), "x does not exist; expected a folder with sintel: check the path"),
        (("--validate", "x"), "x does not exist; expected a folder of pictures"),
        (("--data", "chairs:none"), "none does not exist"),
        (
            ("--data", "chairs:x", "--fresh-every", "2"),
            "--fresh-every 2: applies to --data",
        ),
        (("--data", "chairs:x", "--scenes", "camera"), "--scenes camera: applies to --data"),
        (("--scenes", "moving"), "invalid choice: 'moving'"),
        (("--degradation", "--no-augmentation"), "pairs are degraded after their augmentation"),
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


def test_a_run_of_other_layers_is_not_gone_on_with(tmp_path: Path) -> None:
    trainer_for(options(tmp_path / "run")).save()
    with pytest.raises(TrainingError, match=r"is a run without --only; give the same"):
        trainer_for(options(tmp_path / "run", "--only", "conv1"))
    trainer_for(options(tmp_path / "part", "--only", "conv1")).save()
    with pytest.raises(TrainingError, match=r"is a run with --only conv1; give the same"):
        trainer_for(options(tmp_path / "part"))


def test_a_run_on_other_data_is_not_gone_on_with(tmp_path: Path) -> None:
    """Else weights would be said to have seen, and be licensed as, what came last alone."""
    data = f"chairs:{chairs(tmp_path / 'data')}"
    trainer_for(options(tmp_path / "run", "--data", data)).save()
    with pytest.raises(TrainingError, match=rf"is a run on --data {data}; give the same"):
        trainer_for(options(tmp_path / "run"))
    trainer_for(options(tmp_path / "run", "--data", data))


def test_weights_with_another_normalisation_are_refused(tmp_path: Path) -> None:
    weights = load_weights(shipped_weights("flownets_slim"))
    metadata = weights.metadata | {"normalisation": "pear_mean"}
    save_weights(tmp_path / "x.safetensors", weights.state_dict, metadata)
    other = ("--network", "flownets_slim", "--init", str(tmp_path / "x.safetensors"))
    with pytest.raises(TrainingError, match="its normalisation is 'pear_mean'; expected one of"):
        trainer_for(options(tmp_path / "run", *other))
