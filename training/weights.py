"""Weights files: safetensors with provenance in the header, and published checkpoints."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from training.checkpoints import read_checkpoint
from training.networks import NETWORKS, build_network
from training.networks.layers import FlowNetwork

CHECKPOINT_SUFFIXES = (".pt", ".pth", ".tar")
SHIPPED = Path(__file__).parent / "weights"
METADATA_KEYS = (
    "network", "normalisation", "licence", "source", "data", "steps", "epe", "commit"
)  # fmt: skip


@dataclass(frozen=True)
class Weights:
    """A network's weights and their provenance.

    Attributes:
        state_dict: parameter name -> tensor, float16 or float32.
        metadata: network, normalisation, licence, source, data, steps, epe (JSON object: data set
            -> pixels) and commit, all strings.
    """

    state_dict: dict[str, Tensor]
    metadata: dict[str, str]


def load_weights(path: str | Path) -> Weights:
    """Read a weights file: safetensors, or a published checkpoint (.pt, .pth, .tar).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is neither, or its header lacks a key.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights file")
    if path.suffix in CHECKPOINT_SUFFIXES:
        state_dict, normalisation = read_checkpoint(path)
        facts = {"normalisation": normalisation, "source": path.name, "epe": "{}"}
        return Weights(state_dict, dict.fromkeys(METADATA_KEYS, "unknown") | facts)
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            state_dict = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path}: not a valid safetensors file ({error})") from error
    missing = [key for key in METADATA_KEYS if key not in metadata]
    if missing:
        raise ValueError(
            f"{path}: its header lacks {', '.join(missing)}; expected a file written by "
            "`python -m training.train`"
        )
    return Weights(state_dict, metadata)


def save_weights(path: str | Path, state_dict: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a weights file atomically; arguments as the attributes of `Weights`.

    Raises:
        ValueError: the metadata lacks a key or has an unknown one.
    """
    if set(metadata) != set(METADATA_KEYS):
        raise ValueError(f"metadata keys are {sorted(metadata)}; expected {sorted(METADATA_KEYS)}")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state_dict.items()}
    save_file(tensors, str(partial), metadata=metadata)
    partial.chmod(0o644)  # safetensors gives permissions to the owner only
    os.replace(partial, path)


def shipped_weights(network: str) -> Path:
    """Return the path of the weights that ship with the project.

    Raises:
        FileNotFoundError: none ship for this network; the message gives the training command.
    """
    path = SHIPPED / f"{network}.safetensors"
    if not path.is_file():
        raise FileNotFoundError(
            f"no weights ship for {network!r}. Train them with `python -m training.train "
            f"--network {network} --data synthetic --out runs/{network}`, or pass --weights FILE."
        )
    return path


def network_from_weights(name: str, weights: Weights) -> FlowNetwork:
    """Build a network with the given weights, in float32 and evaluation mode.

    Raises:
        ValueError: the network is unknown, or the weights are of another network.
    """
    network = build_network(name, seed=0)
    expected, found = network.state_dict(), weights.state_dict
    wrong = sorted(expected.keys() ^ found.keys()) + [
        f"{key} {tuple(found[key].shape)}"
        for key in expected.keys() & found.keys()
        if found[key].shape != expected[key].shape
    ]
    if wrong:
        raise ValueError(
            f"these weights are not of {name!r} (their network: {weights.metadata['network']}): "
            f"{len(wrong)} tensors differ, such as {', '.join(wrong[:3])}. "
            f"Known networks: {', '.join(NETWORKS)}."
        )
    network.load_state_dict({key: value.to(torch.float32) for key, value in found.items()})
    return network.eval()
