"""Recipes are defaults: options override them, and what they set has its effect."""

import copy
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from torch import nn

from training.config import TrainingConfig, TrainingError, parse
from training.data.augment import crop_only
from training.data.batch import PairBatch
from training.inputs import count_steps, open_inputs
from training.optimizer import adam
from training.recipes import RECIPES
from training.synthetic.__main__ import main as render
from training.train import main


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Ten pairs, of which the split of chairs1485 takes 7, 2 and 1."""
    folder = tmp_path_factory.mktemp("recipes") / "pairs"
    render(["--pairs", "10", "--size", "64x128", "-o", str(folder)])
    return f"chairs1485:{folder}"


def config(*arguments: str) -> TrainingConfig:
    return parse(["--out", "run", "--device", "cpu", *arguments])


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_sets_options_of_a_run(name: str, data: str) -> None:
    found = config("--recipe", name, "--data", data)
    assert RECIPES[name].options.keys() <= {field.name for field in fields(TrainingConfig)}
    for option, value in RECIPES[name].options.items():
        assert getattr(found, option) == value
    assert found.validate == (data if RECIPES[name].validates else None)


def test_the_course_project() -> None:
    """FlowNetS, Adam at 1e-4, batches of 8, 20 epochs, whole images (README.md, CV_lr6.ipynb)."""
    found = config("--recipe", "chairs1485", "--data", "chairs1485:x")
    assert (found.network, found.optimizer, found.lr, found.schedule) == (
        "flownets", "adam", 1e-4, "constant"
    )  # fmt: skip
    assert (found.batch_size, found.epochs, found.height, found.width) == (8, 20, 384, 512)
    assert (found.augmentation, found.weight_decay, found.ema) == (False, 0, 0)


def test_the_default_data_of_networks() -> None:
    """Those of the network that is applied from coarse to fine are its recipe's."""
    plain, own = config(), config("--recipe", "coarse_to_fine")
    assert (plain.scenes, plain.degradation) == ("affine", False)
    assert (own.network, own.scenes, own.degradation) == ("coarse_to_fine_slim", "camera", True)
    assert config("--recipe", "coarse_to_fine", "--scenes", "affine").scenes == "affine"


def test_options_override_a_recipe() -> None:
    given = ("--lr", "3e-4", "--augmentation", "--optimizer", "muon", "--validate", "x")
    found = config("--recipe", "chairs1485", "--data", "y", *given)
    assert (found.lr, found.augmentation, found.optimizer) == (3e-4, True, "muon")
    assert found.validate == "chairs:x"
    assert found.epochs == 20


@pytest.mark.parametrize("length", [("--steps", "7"), ("--minutes", "2"), ("--epochs", "3")])
def test_a_length_replaces_that_of_the_recipe(length: tuple[str, str]) -> None:
    found = config("--recipe", "chairs1485", "--data", "x", *length)
    given = length[0].removeprefix("--")
    assert getattr(found, given) == int(length[1])
    assert (found.epochs is None) == (given != "epochs")
    assert (found.minutes is None) == (given != "minutes")


def test_without_recipe_the_defaults_are_those_of_this_project() -> None:
    found = config()
    assert (found.optimizer, found.schedule, found.augmentation) == ("muon", "linear", True)
    assert (found.steps, found.epochs, found.minutes) == (12_000, None, None)


def test_epochs_are_passes_over_the_training_pairs(data: str) -> None:
    arguments = ("--data", data, "--epochs", "5", "--batch-size", "2")
    found = config("--height", "64", "--width", "128", *arguments)
    # 7 training pairs make 3 batches of 2.
    assert count_steps(found, open_inputs(found)).steps == 15
    assert config("--steps", "5").steps == 5


def test_epochs_of_procedural_pairs_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        config("--recipe", "chairs1485")
    assert "--epochs 20: procedural pairs are endless; give a folder" in capsys.readouterr().err


def test_a_crop_larger_than_the_pairs_is_refused(data: str) -> None:
    arguments = ("--data", data, "--batch-size", "2", "--height", "128", "--width", "128")
    with pytest.raises(TrainingError, match="pairs of 64x128; expected at least the crop, 128x128"):
        open_inputs(config(*arguments, "--no-augmentation"))
    open_inputs(config(*arguments))


@pytest.mark.usefixtures("narrow_network")
def test_the_course_recipe_trains(
    data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["--recipe", "chairs1485", "--data", data, "--out", str(tmp_path / "run")]
    run += ["--network", "narrow", "--device", "cpu", "--epochs", "1", "--batch-size", "2"]
    run += ["--height", "64", "--width", "128"]
    assert main(run) == 0
    assert '"chairs1485, 2 pairs"' in capsys.readouterr().out
    # The checkpoint has Adam's state alone.
    assert main([*run, "--optimizer", "muon"]) == 2
    assert "is a run with --optimizer adam; give the same" in capsys.readouterr().err


def test_adam_is_pytorchs_and_biases_do_not_decay() -> None:
    torch.manual_seed(0)
    ours = nn.Conv2d(3, 8, 3)
    theirs = copy.deepcopy(ours)
    images = torch.rand(2, 3, 8, 8)
    optimizer = adam(ours, lr=0.1, weight_decay=0.3, dtype=torch.float32)
    groups = [{"params": [theirs.weight], "weight_decay": 0.3}, {"params": [theirs.bias]}]
    expected = torch.optim.Adam(groups, lr=0.1)
    for _ in range(3):
        for network, each in ((ours, optimizer), (theirs, expected)):
            each.zero_grad()
            network(images).square().mean().backward()
            each.step()
    torch.testing.assert_close(ours.weight, theirs.weight)
    torch.testing.assert_close(ours.bias, theirs.bias)


def test_a_crop_is_a_part_of_the_pair() -> None:
    """Each value names its place, so that one corner tells where the crop is from."""
    places = torch.arange(6 * 9).view(1, 1, 6, 9).repeat(5, 1, 1, 1)
    images = places.repeat(1, 3, 1, 1).to(torch.uint8)
    pairs = PairBatch(images, images + 1, places.repeat(1, 2, 1, 1).float(), places % 2 == 0)
    samples = crop_only(pairs, (4, 5), seed=3)
    corners = set()
    for index, first in enumerate(samples.image1[:, 0, 0, 0].long().tolist()):
        top, left = divmod(first, 9)
        corners.add((top, left))
        part = (index, slice(None), slice(top, top + 4), slice(left, left + 5))
        torch.testing.assert_close(samples.image1[index], images[part].float())
        torch.testing.assert_close(samples.image2[index], images[part].float() + 1)
        torch.testing.assert_close(samples.flow[index], pairs.flow[part])
        torch.testing.assert_close(samples.occluded[index], pairs.occluded[part].float())
    assert len(corners) > 1
    assert samples.valid.all()
    whole = crop_only(pairs, (6, 9), seed=3)
    torch.testing.assert_close(whole.image1, images.float())
