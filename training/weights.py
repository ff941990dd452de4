"""Weights as safetensors files: numbers, and in the header where they came from.

Checkpoints of ClementPinard/FlowNetPytorch and NVIDIA/flownet2-pytorch are read as well.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from training.int8.ranges import Channels, Equalisation
from training.networks import NETWORKS, build_network
from training.networks.layers import FlowNetwork

CHECKPOINT_SUFFIXES = (".pt", ".pth", ".tar")
SHIPPED = Path(__file__).parent / "weights"
METADATA_KEYS = (
    "network", "normalisation", "licence", "source", "data", "steps", "epe", "commit"
)  # fmt: skip
# What the names of the tensors of an `Equalisation` begin with.
_INT8 = "int8."
_FACTORS, _RANGE = "int8.factors.", "int8.range."


@dataclass(frozen=True)
class Weights:
    """A network's weights and their origin.

    Attributes:
        state_dict: parameter name -> tensor, float16 or float32.
        metadata: network, normalisation, licence, source, data, steps, epe (JSON object: data set
            -> pixels) and commit, all strings.
        int8: what they were trained to be rounded by, None where they were not.
    """

    state_dict: dict[str, Tensor]
    metadata: dict[str, str]
    int8: Equalisation | None = None


def load_weights(path: str | Path) -> Weights:
    """Read a weights file: safetensors, or a published checkpoint (.pt, .pth, .tar).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is neither, its header lacks a key, or its ranges for int8 are none.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights file")
    if path.suffix in CHECKPOINT_SUFFIXES:
        return _weights_from_checkpoint(path)
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
    try:
        int8 = equalisation_from(state_dict)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; expected a file that training wrote") from error
    state_dict = {name: it for name, it in state_dict.items() if not name.startswith(_INT8)}
    return Weights(state_dict, metadata, int8)


def tensors_from(equalisation: Equalisation | None) -> dict[str, Tensor]:
    """Return what `equalisation_from` takes, by name."""
    if equalisation is None:
        return {}
    factors = {_FACTORS + name: torch.tensor(it) for name, it in equalisation.factors.items()}
    return factors | {_RANGE + name: torch.tensor(it) for name, it in equalisation.ranges.items()}


def equalisation_from(tensors: Mapping[str, Tensor]) -> Equalisation | None:
    """Return the `Equalisation` that is among a file's tensors, if there is one.

    Raises:
        ValueError: a tensor of it is not what it is named for.
    """
    factors: dict[str, Channels] = {}
    ranges: dict[str, float] = {}
    for name, values in tensors.items():
        if not name.startswith(_INT8):
            continue
        positive = bool((values.isfinite() & (values > 0)).all())
        if positive and name.startswith(_FACTORS) and values.dim() == 1:
            factors[name.removeprefix(_FACTORS)] = values.float().cpu().numpy()
        elif positive and name.startswith(_RANGE) and values.dim() == 0:
            ranges[name.removeprefix(_RANGE)] = values.item()
        else:
            raise ValueError(
                f"{name}, {tuple(values.shape)}, is no range of a layer and no factors of its "
                "channels, which are greater than zero"
            )
    return Equalisation(factors, ranges) if ranges else None


def _weights_from_checkpoint(path: Path) -> Weights:
    """Read someone else's checkpoint; only tensors and plain values are ever unpickled.

    The two publishers differ in what they leave out: ClementPinard's flow heads, deconvolutions
    and, in FlowNetC, flow upsamplings have no bias (here: zero), and his images lose a fixed mean,
    NVIDIA's the pair's own.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    # Damaged, it raises whatever its bytes lead to; and what it says of code in a file is to allow
    # that.
    except Exception as error:
        raise ValueError(
            f"{path}: not a checkpoint of plain tensors; it is damaged, no checkpoint at all, or "
            "holds more than tensors, which may be code. Download it again, or save its state_dict "
            "alone"
        ) from error
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if (
        not isinstance(state, dict)
        or not state
        or not all(isinstance(it, str) for it in state)
        or not all(isinstance(it, Tensor) for it in state.values())
    ):
        raise ValueError(f"{path}: holds no state_dict; expected parameter names and tensors")
    state = {name.removeprefix("module."): value for name, value in state.items()}
    has_biases = any(name.startswith("predict_flow") and name.endswith("bias") for name in state)
    if not has_biases:
        transposed = ["deconv", *(["upsampled_flow"] if "conv_redir.0.weight" in state else [])]
        for name, value in list(state.items()):
            if name.startswith("predict_flow"):
                state[name.replace("weight", "bias")] = torch.zeros(value.shape[0])
            elif name.startswith(tuple(transposed)):
                state[name.replace("weight", "bias")] = torch.zeros(value.shape[1])
    metadata = dict.fromkeys(METADATA_KEYS, "unknown") | {
        "normalisation": "pair_mean" if has_biases else "fixed_mean",
        "source": path.name,
        "epe": "{}",
    }
    return Weights(state, metadata)


def save_weights(
    path: str | Path,
    state_dict: dict[str, Tensor],
    metadata: dict[str, str],
    int8: Equalisation | None = None,
) -> None:
    """Write a weights file, whole or not at all; arguments as the attributes of `Weights`.

    Raises:
        ValueError: the metadata lacks a key or has an unknown one.
    """
    if set(metadata) != set(METADATA_KEYS):
        raise ValueError(f"metadata keys are {sorted(metadata)}; expected {sorted(METADATA_KEYS)}")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state_dict.items()}
    tensors |= tensors_from(int8)
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
            f"these weights are not of {name!r} (their network: {weights.metadata['network']}): "
            f"{len(wrong)} tensors differ, such as {', '.join(wrong[:3])}. "
            f"Known networks: {', '.join(NETWORKS)}."
        )
    network.load_state_dict({key: value.to(torch.float32) for key, value in found.items()})
    return network.eval()
