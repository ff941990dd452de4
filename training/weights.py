"""Weights files: safetensors with provenance in the header, and published checkpoints.

python -m training.weights inspect FILE
python -m training.weights convert FILE -o OUT.safetensors
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from engine.errors import one_line
from engine.system.command import run
from engine.system.files import replacing
from training.checkpoints.convert import check_values, convert, recognised
from training.checkpoints.facts import Fact
from training.checkpoints.files import Contents, read_file
from training.checkpoints.own import METADATA_KEYS, check_header, check_stated, is_own
from training.checkpoints.recognise import Match
from training.checkpoints.stated import Stated
from training.checkpoints.words import shown
from training.networks import NETWORKS
from training.networks.layers import FlowNetwork
from training.networks.registry import network_without_weights

SHIPPED = Path(__file__).parent / "weights"
# How the flow is brought to the images' size, where these weights need another way than the network
# has by itself.
UPSAMPLING = "upsampling"
# What a published checkpoint was taken to be: JSON, fact -> value and source.
FACTS = "facts"


@dataclass(frozen=True)
class Weights:
    """A network's weights and their provenance.

    Attributes:
        state_dict: parameter name -> tensor, float16 or float32.
        metadata: network, normalisation, licence, source, data, steps, epe (JSON object: data set
            -> pixels) and commit, all strings; perhaps `UPSAMPLING` and `FACTS`.
    """

    state_dict: dict[str, Tensor]
    metadata: dict[str, str]


def load_weights(
    path: str | Path, *, drop_extra: bool = False, stated: Stated | None = None
) -> Weights:
    """Read a weights file: safetensors of this project, or a published checkpoint.

    What a file is follows from its content. No code in it is run. The tensors of a PyTorch
    checkpoint may stay on disk until they are used.

    Args:
        path: the file.
        drop_extra: leave out tensors that the network of a checkpoint has no place for.
        stated: facts that hold whatever the file says.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is neither, is damaged, its header lacks a key, or it says of its network
            what cannot be.
        OSError: it cannot be read.
    """
    path = Path(path)
    contents = read_file(path)
    if not is_own(contents):
        match = recognised(path, contents, stated)
        return weights_from(path, contents, match, drop_extra=drop_extra)
    metadata = _own_metadata(path, contents.facts, stated or Stated())
    check_values(path, contents)
    return Weights(contents.tensors, metadata)


def _own_metadata(path: Path, header: Mapping[str, str], stated: Stated) -> dict[str, str]:
    try:
        check_header(header)
        check_stated(stated)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    metadata = dict(header)
    if stated.normalisation is not None:
        taken = facts_in(path, metadata)
        taken["normalisation"] = str(Fact(stated.normalisation, "--normalisation"))
        metadata |= {"normalisation": stated.normalisation, FACTS: json.dumps(taken)}
    return metadata


def facts_in(path: Path, metadata: Mapping[str, str]) -> dict[str, str]:
    """Return what a published checkpoint was taken to be; empty for weights trained here.

    Raises:
        ValueError: the metadata of the file at ``path`` are malformed.
    """
    try:
        taken = json.loads(metadata.get(FACTS, "{}"))
    except ValueError:
        taken = None
    if not isinstance(taken, dict) or not all(isinstance(fact, str) for fact in taken.values()):
        raise ValueError(
            f"{path}: the facts in its header are {shown(metadata[FACTS])!r}; expected a JSON "
            "object of texts, as `python -m training.weights convert` writes it"
        )
    return taken


def weights_from(
    path: Path, contents: Contents, match: Match, *, drop_extra: bool = False
) -> Weights:
    """Return the weights of a checkpoint that has been recognised; arguments as `convert`."""
    assert match.facts is not None
    metadata = dict.fromkeys(METADATA_KEYS, "unknown") | {
        "network": match.network,
        "normalisation": match.facts.normalisation.value,
        "licence": match.layout.licence,
        "source": f"{match.layout.publisher}, {shown(path.name)}",
        "epe": "{}",
        FACTS: json.dumps(match.facts.in_words()),
    }
    if upsampling := match.layout.upsampling.get(match.network):
        metadata[UPSAMPLING] = upsampling
    return Weights(convert(path, contents, match, drop_extra=drop_extra), metadata)


def save_weights(path: str | Path, state_dict: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a weights file atomically; arguments as the attributes of `Weights`.

    Raises:
        ValueError: the metadata lacks a key or has an unknown one.
        OSError: the file cannot be written.
    """
    if set(metadata) - {UPSAMPLING, FACTS} != set(METADATA_KEYS):
        raise ValueError(f"metadata keys are {sorted(metadata)}; expected {sorted(METADATA_KEYS)}")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state_dict.items()}
    with replacing(path) as partial:
        try:
            save_file(tensors, str(partial), metadata=metadata)
        except SafetensorError as error:  # of the operating system: the tensors are plain
            raise OSError(f"{path}: cannot be written: {one_line(error)}") from error
        partial.chmod(0o644)  # safetensors gives permissions to the owner only


def shipped_weights(network: str) -> Path:
    """Return the path of the weights that ship with the project.

    Raises:
        FileNotFoundError: none ship for this network; the message gives the training command.
        OSError: the weights are not installed: they are no part of the wheel.
    """
    if not SHIPPED.is_dir():
        raise OSError(
            f"the shipped weights are not installed ({SHIPPED}): they are in the source "
            "distribution and the repository, not in the wheel. Run the command in the folder of "
            "one of these, or pass --weights FILE."
        )
    path = SHIPPED / f"{network}.safetensors"
    if not path.is_file():
        raise FileNotFoundError(
            f"no weights ship for {network!r}. Pass --weights FILE (docs/checkpoints.md names "
            "published ones), or train them with `python -m training.train "
            f"--network {network} --data synthetic --out runs/{network}`."
        )
    return path


def network_from_weights(name: str, weights: Weights) -> FlowNetwork:
    """Build a network with the given weights, in float32 and evaluation mode.

    It shares the memory of those that are in float32.

    Raises:
        ValueError: the network is unknown, or the weights are of another network.
    """
    network = network_without_weights(name)
    check_network(name, network, weights)
    network.load_state_dict(
        {key: _as_float32(value) for key, value in weights.state_dict.items()}, assign=True
    )
    tensors = chain(network.named_parameters(), network.named_buffers())
    empty = [key for key, value in tensors if value.is_meta]
    if empty:
        raise NotImplementedError(f"{name}: {', '.join(empty)} are not in its state_dict")
    upsampling = weights.metadata.get(UPSAMPLING, network.interpolation)
    if upsampling not in ("bilinear", "nearest"):
        raise ValueError(
            f"these weights need {upsampling!r} upsampling; expected bilinear or nearest"
        )
    network.interpolation = cast(Literal["bilinear", "nearest"], upsampling)
    return network.eval()


def check_network(name: str, network: FlowNetwork, weights: Weights) -> None:
    """Check that weights are of a network.

    Raises:
        ValueError: they are of another one.
    """
    expected, found = network.state_dict(), weights.state_dict
    both = expected.keys() & found.keys()
    differences = {
        "tensors too many": sorted(found.keys() - expected.keys()),
        "missing": sorted(expected.keys() - found.keys()),
        "of another shape": [
            f"{key} {tuple(found[key].shape)}"
            for key in sorted(both)
            if found[key].shape != expected[key].shape
        ],
    }
    wrong = [
        f"{which}: {len(names)}, such as {', '.join(names[:3])}"
        for which, names in differences.items()
        if names
    ]
    if not wrong:
        return
    theirs = weights.metadata["network"]
    if theirs == name:
        advice = "They are of another version of this network."
    elif theirs in NETWORKS:
        advice = f"Pass --network {theirs}."
    else:
        advice = f"Known networks: {', '.join(NETWORKS)}."
    raise ValueError(
        f"these weights are not of {name!r} (their network: {theirs}): {'; '.join(wrong)}. {advice}"
    )


def _as_float32(value: Tensor) -> Tensor:
    return value.to(torch.float32) if value.is_floating_point() else value


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, or 2 if the file cannot be used."""
    from training.checkpoints import command

    return command.main(arguments)


if __name__ == "__main__":
    run(main)
