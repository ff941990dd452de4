"""Weights files: round trip, refusals, and nothing half-written."""

from pathlib import Path

import pytest
import torch

from training.networks import build_network
from training.weights import (
    METADATA_KEYS,
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


def test_foreign_header_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "foreign.safetensors"
    save_file({"x": torch.zeros(1)}, str(path), metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks network, normalisation.*training\.train"):
        load_weights(path)


def test_weights_of_another_network_are_refused(file: Path) -> None:
    with pytest.raises(ValueError, match=r"not of 'flownets' but of 'flownets_slim'"):
        network_from_weights("flownets", load_weights(file))


def test_wrong_metadata_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="metadata keys"):
        save_weights(tmp_path / "w.safetensors", {"x": torch.zeros(1)}, {"network": "flownets"})
    assert list(tmp_path.iterdir()) == []


def test_unshipped_weights_name_the_training_command() -> None:
    with pytest.raises(FileNotFoundError, match=r"training\.train --network flownets --data"):
        shipped_weights("flownets")


def test_shipped_weights_fit_their_network() -> None:
    weights = load_weights(shipped_weights("flownets_slim"))
    network_from_weights("flownets_slim", weights)
    assert all(tensor.dtype == torch.float16 for tensor in weights.state_dict.values())
