"""The README's code runs, and its commands are the ones there are."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from engine.images import write_image
from training.config import parse
from training.networks import NETWORKS, build_network
from training.weights import METADATA_KEYS, load_weights, save_weights

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
WEIGHTS = ROOT / "training" / "weights"
WEIGHTS_README = (WEIGHTS / "README.md").read_text()

# Appended to a command that would take minutes: the same command, less of it.
SHORTER = {
    "training.train": "--steps 2 --batch-size 2 --height 64 --width 64 --pool 4 --device cpu",
    "training.synthetic": "--pairs 1 --size 64x64",
    "export.build_engine": "--targets onnxruntime",
    "bench.compare": "--list",
}
# Pairs so small move little, and ranges taken from them clip larger motion: the error may rise.
SHORTER_INT8 = {"export.build_engine": " --size 192x256 --max-epe-increase 100%"}


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(text: str = README) -> list[str]:
    lines = [
        line for block in blocks("sh", text) for line in block.replace("\\\n", " ").splitlines()
    ]
    stripped = [re.sub(r"\s+#.*", "", line).strip() for line in lines]
    return [line for line in stripped if line]


def module_commands() -> list[str]:
    return [command for command in commands() if command.startswith("python -m ")]


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with two pictures, trained weights and those that ship, as the README supposes."""
    (tmp_path / "training").symlink_to(ROOT / "training")
    rng = np.random.default_rng(0)
    for name in ("frame1.png", "frame2.png"):
        write_image(tmp_path / name, rng.integers(0, 256, (64, 96, 3), np.uint8))
    network = build_network("flownetc_slim", seed=0)
    metadata = dict.fromkeys(METADATA_KEYS, "seeded random") | {
        "network": "flownetc_slim", "normalisation": "fixed_mean", "epe": "{}"
    }  # fmt: skip
    weights = tmp_path / "runs" / "flownetc" / "flownetc_slim.safetensors"
    save_weights(weights, network.half().state_dict(), metadata)
    return tmp_path


@pytest.mark.parametrize("block", blocks("python"))
def test_python(block: str) -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (3, 64, 96, 3), np.uint8)
    names: dict[str, object] = {"image1": frames[0], "image2": frames[1], "frames": frames}
    exec(compile(block, "README.md", "exec"), names)
    flow = names["flow"]
    assert isinstance(flow, np.ndarray)
    assert flow.shape == (64, 96, 2)
    assert flow.dtype == np.float32


@pytest.mark.parametrize("command", module_commands())
def test_module_command(command: str, workplace: Path) -> None:
    module = command.split()[2]
    shorter = SHORTER.get(module, "")
    if "int8" in command or "auto" in command:
        shorter += SHORTER_INT8.get(module, "")
    in_steps = re.sub(r" --minutes \S+", "", command)  # it rules out the steps of SHORTER
    arguments = shlex.split(f"{in_steps} {shorter}")[1:]
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=workplace,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_every_command_is_of_a_known_kind() -> None:
    """So that a new one does not go untested."""
    kinds = ("python -m ", "make ", "pip install ")
    assert [command for command in commands() if not command.startswith(kinds)] == []


def test_networks_exist() -> None:
    """Also where the command is not run, or only as far as its list."""
    named = set(",".join(re.findall(r"--network ([a-z_,]+)", README)).split(","))
    assert named
    assert named <= NETWORKS.keys()


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {command.split()[1] for command in commands() if command.startswith("make ")}
    named |= set(re.findall(r"`make ([a-z-]+)`", README))
    assert named
    assert named <= targets


def test_extras_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {name for names in re.findall(r"\.\[([a-z,-]+)\]", README) for name in names.split(",")}
    assert named
    assert named <= set(project["optional-dependencies"])


@pytest.mark.parametrize(
    ("text", "folder"), [(README, ROOT), (WEIGHTS_README, WEIGHTS)], ids=["project", "weights"]
)
def test_links_lead_somewhere(text: str, folder: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        assert (folder / target).exists(), target
    for heading in re.findall(r"README\.md#([a-z-]+)\)", text):
        assert f"# {heading.replace('-', ' ')}\n" in README.lower()


def test_weights_are_the_ones_described() -> None:
    described = re.findall(r"^\| `(\w+)` \| .* \| ([\d,]+) \| ([\d.]+) \|", WEIGHTS_README, re.M)
    for name, steps, epe in described:
        metadata = load_weights(WEIGHTS / f"{name}.safetensors").metadata
        assert metadata["steps"] == steps.replace(",", "")
        assert f"{json.loads(metadata['epe'])['synthetic']:.2f}" == epe
    assert {name for name, *_ in described} == {file.stem for file in WEIGHTS.glob("*.safetensors")}


@pytest.mark.parametrize("command", commands(WEIGHTS_README))
def test_training_command_is_understood(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not run: that is what the README's own commands of this kind are for."""
    monkeypatch.chdir(ROOT)
    module, *arguments = shlex.split(command.removeprefix("python -m "))
    assert module == "training.train"
    options = parse(arguments)
    assert options.int8
    assert options.initial is not None
