"""Weights as safetensors files: numbers, and in the header where they came from."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from training.networks import NETWORKS, build_network
from training.networks.layers import FlowNetwork

SHIPPED = Path(__file__).parent / "weights"
METADATA_KEYS = (
    "network", "normalisation", "licence", "source", "data", "steps", "epe", "commit"
)  # fmt: skip


@dataclass(frozen=True)
class Weights:
    """A network's weights and their origin.

    Attributes:
        state_dict: parameter name -> tensor, float16 or float32.
        metadata: network, normalisation, licence, source, data, steps, epe (JSON object: data set
            -> pixels) and commit, all strings.
    """

    state_dict: dict[str, Tensor]
    metadata: dict[str, str]


def load_weights(path: str | Path) -> Weights:
    """Read a weights file written by :func:`save_weights`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no safetensors file, or its header lacks a key.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights file")
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
    """Write a weights file, whole or not at all.

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
    partial.chmod(0o644)  # safetensors writes for the owner alone
    os.replace(partial, path)


def shipped_weights(network: str) -> Path:
    """Path of the weights that ship with the project.

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
    """Build a network and fill in its weights: evaluation mode, float32.

    Raises:
        ValueError: unknown network, or weights that belong to another one.
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
            f"these weights are not of {name!r} but of {weights.metadata.get('network')!r}: "
            f"{len(wrong)} tensors differ, such as {', '.join(wrong[:3])}. "
            f"Known networks: {', '.join(NETWORKS)}."
        )
    network.load_state_dict({key: value.to(torch.float32) for key, value in found.items()})
    return network.eval()
