"""Weights files: round trip, refusals, and nothing half-written."""

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from export.graph.deployable import Deployable
from training.networks import build_network
from training.normalise import ZeroToOne
from training.weights import (
    METADATA_KEYS,
    UPSAMPLING,
    load_weights,
    network_from_weights,
    save_weights,
    shipped_weights,
)

METADATA = {key: f"some {key}" for key in METADATA_KEYS} | {"network": "flownets_slim"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    save_weights(path, build_network("flownets_slim", seed=1).half().state_dict(), METADATA)
    return path


def test_round_trip(file: Path) -> None:
    weights = load_weights(file)
    assert weights.metadata == METADATA
    network = network_from_weights("flownets_slim", weights)
    assert not network.training
    original = build_network("flownets_slim", seed=1).half()
    for name, value in network.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, original.state_dict()[name].float())


def test_truncated_file_is_refused(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match="not a valid safetensors file"):
        load_weights(file)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such weights file"):
        load_weights(tmp_path / "none.safetensors")


def test_header_that_lacks_a_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    header = {"network": "flownets", "normalisation": "fixed_mean"}
    save_file({"x": torch.zeros(1)}, str(path), metadata=header)
    with pytest.raises(ValueError, match=r"lacks licence, source.*training\.train"):
        load_weights(path)


def test_weights_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    state = {"x": torch.ones(3), "y": torch.tensor([1.0, float("nan")])}
    save_weights(tmp_path / "w.safetensors", state, METADATA)
    with pytest.raises(ValueError, match=r"1 tensor with values that are NaN.*y \(1 of 2\)"):
        load_weights(tmp_path / "w.safetensors")


def test_weights_of_another_network_are_refused(file: Path) -> None:
    with pytest.raises(
        ValueError,
        match=r"not of 'flownets' \(their network: flownets_slim\).*"
        "Pass --network flownets_slim",
    ):
        network_from_weights("flownets", load_weights(file))


def test_weights_of_another_version_of_a_network_name_the_tensors(file: Path) -> None:
    weights = load_weights(file)
    state = weights.state_dict
    state["conv7.weight"] = state.pop("predict_flow2.weight")
    state["predict_flow2.bias"] = torch.zeros(3)
    with pytest.raises(
        ValueError,
        match=r"tensors too many: 1, such as conv7\.weight; missing: 1, such as "
        r"predict_flow2\.weight; of another shape: 1, such as predict_flow2\.bias \(3,\)\. "
        "They are of another version of this network",
    ):
        network_from_weights("flownets_slim", weights)


def test_wrong_metadata_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="metadata keys"):
        save_weights(tmp_path / "w.safetensors", {"x": torch.zeros(1)}, {"network": "flownets"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("upsampling", ["nearest", "bilinear"])
def test_weights_say_how_their_flow_is_upsampled(tmp_path: Path, upsampling: str) -> None:
    path = tmp_path / "w.safetensors"
    state = build_network("flownets_slim", seed=1).state_dict()
    save_weights(path, state, METADATA | {UPSAMPLING: upsampling})
    network = network_from_weights("flownets_slim", load_weights(path))
    image = torch.randint(0, 256, (1, 64, 64, 3), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        flow = Deployable(network, ZeroToOne())(image.byte(), image.byte())[0]
    blocks = flow.reshape(16, 4, 16, 4, 2)
    assert torch.equal(blocks, blocks[:, :1, :, :1].expand_as(blocks)) == (upsampling == "nearest")


def test_unknown_upsampling_is_refused(file: Path) -> None:
    weights = load_weights(file)
    weights.metadata[UPSAMPLING] = "cubic"
    with pytest.raises(ValueError, match="'cubic' upsampling; expected bilinear or nearest"):
        network_from_weights("flownets_slim", weights)


def test_unshipped_weights_name_the_training_command() -> None:
    with pytest.raises(FileNotFoundError, match=r"training\.train --network flownets --data"):
        shipped_weights("flownets")


def test_a_wheel_has_no_weights(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("training.weights.SHIPPED", tmp_path / "weights")
    with pytest.raises(OSError, match=r"weights are not installed .* in the source distribution"):
        shipped_weights("flownets_slim")


def test_shipped_weights_fit_their_network() -> None:
    weights = load_weights(shipped_weights("flownets_slim"))
    network_from_weights("flownets_slim", weights)
    assert all(tensor.dtype == torch.float16 for tensor in weights.state_dict.values())


def test_checkpoint_with_biases_is_nvidias(tmp_path: Path) -> None:
    state = build_network("flownets_slim", seed=2).state_dict()
    torch.save({"epoch": 3, "state_dict": state, "best_EPE": 2.5}, tmp_path / "x.pth.tar")
    weights = load_weights(tmp_path / "x.pth.tar")
    assert weights.metadata["normalisation"] == "pair_mean"
    network = network_from_weights("flownets_slim", weights)
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name])


@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("flownets_slim", ("predict_flow", "deconv")),
        ("flownetc_slim", ("predict_flow", "deconv", "upsampled_flow")),
    ],
)
def test_checkpoint_without_biases_is_pinards(
    tmp_path: Path, name: str, without: tuple[str, ...]
) -> None:
    """Zero biases make the network compute what one without biases computes."""
    full = build_network(name, seed=2).eval()
    with torch.no_grad():
        for key, value in full.state_dict().items():
            if key.startswith(without) and key.endswith("bias"):
                value.zero_()
    state = {
        f"module.{key}": value
        for key, value in full.state_dict().items()
        if not (key.startswith(without) and key.endswith("bias"))
    }
    torch.save({"arch": name, "state_dict": state, "div_flow": 20}, tmp_path / "x.pth")
    weights = load_weights(tmp_path / "x.pth")
    assert weights.metadata["normalisation"] == "fixed_mean"
    network = network_from_weights(name, weights)
    images = torch.rand(2, 1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(network(*images)[0], full(*images)[0])


@pytest.mark.parametrize(
    "content",
    [b"", b"no pickle at all", b"PK\x03\x04 cut", b"hello world", b"<!DOCTYPE html>", b"\x80\x02"],
)
def test_broken_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(ValueError, match="not a checkpoint of plain tensors") as caught:
        load_weights(tmp_path / "x.pth")
    assert "weights_only" not in str(caught.value)  # PyTorch's advice would allow code


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=64))
def test_no_bytes_are_anything_but_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.pth: "):
        load_weights(tmp_path / "x.pth")


@pytest.mark.parametrize(
    "content", [{"state_dict": [torch.ones(1)]}, {"state_dict": {1: torch.ones(1)}}, {}, [1]]
)
def test_checkpoint_without_names_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(ValueError, match="holds no state_dict"):
        load_weights(tmp_path / "x.pth")


def test_checkpoint_without_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {"epoch": 3}}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match="holds no state_dict"):
        load_weights(tmp_path / "x.pt")
