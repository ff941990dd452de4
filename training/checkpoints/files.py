"""The tensors of a checkpoint file, in whatever container they are."""

import math
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from training.checkpoints import unpickling
from training.checkpoints.words import shown, some
from training.checkpoints.words import tensors as counted

# Where training programs put the state_dict; a file may also be one.
_STATE_KEYS = ("state_dict", "model_state_dict", "model", "network")
_HEADER_LIMIT = 100 * 2**20  # of safetensors
_OTHER_FILES = {
    b"<": "a web page: the download did not reach the file. Open its address in a browser",
    b"version https://git-lfs": "a reference to a file in Git LFS; run `git lfs pull`",
    b"\x89HDF": "an HDF5 file; expected a PyTorch checkpoint or safetensors",
}


class CheckpointError(ValueError):
    """A file is no checkpoint, or not of a network that is known here."""


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        tensors: by name, without a prefix that all names have.
        container: for example "PyTorch".
        prefix: the prefix that all names had, or "".
        facts: what is beside the tensors; of safetensors, the header.
        left_out: classes of objects that were not read.
        lightning: whether PyTorch Lightning wrote it.
        name: of the file.
    """

    tensors: dict[str, Tensor]
    container: str
    prefix: str
    facts: Mapping[str, Any]
    left_out: tuple[str, ...] = ()
    lightning: bool = False
    name: str = ""

    @property
    def plain_facts(self) -> dict[str, int | float | str]:
        """Numbers and texts among the facts."""
        return {
            key: value
            for key, value in self.facts.items()
            if isinstance(value, int | str) or _is_finite(value)
        }


def read_file(path: Path) -> Contents:
    """Read a file of safetensors or a PyTorch checkpoint, told apart by their first bytes.

    Raises:
        CheckpointError: the file is neither, is damaged, names code, or has no state_dict.
        FileNotFoundError: there is no such file.
        OSError: the file cannot be read.
    """
    if path.is_dir():
        raise CheckpointError(f"{path}: a folder; expected a weights file")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weights file")
    with path.open("rb") as stream:
        start = stream.read(64)
    if _is_safetensors(start):
        return _read_safetensors(path)
    for magic, kind in _OTHER_FILES.items():
        if start.startswith(magic):
            raise CheckpointError(f"{path}: not a checkpoint of plain tensors but {kind}")
    return _read_pytorch(path)


def _is_safetensors(start: bytes) -> bool:
    """Whether a file starts with the length of a header and a JSON object."""
    return (
        len(start) > 8 and start[8:9] == b"{" and struct.unpack("<Q", start[:8])[0] <= _HEADER_LIMIT
    )


def _read_safetensors(path: Path) -> Contents:
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not a valid safetensors file ({error})") from error
    if not tensors:
        raise CheckpointError(f"{path}: holds no tensors")
    prefix = _prefix(tensors)
    return Contents(_without(prefix, tensors), "safetensors", prefix, header, name=path.name)


def _read_pytorch(path: Path) -> Contents:
    try:
        content, left_out = unpickling.load(path)
    except OSError:
        raise
    except unpickling.UnsafePickleError as error:
        raise CheckpointError(
            f"{path}: not a checkpoint of plain tensors: it names functions that run code when a "
            f"program loads it ({error}). None was run. Do not open it elsewhere; take the "
            "checkpoint from its publisher"
        ) from error
    except unpickling.DamagedFileError as error:
        raise CheckpointError(
            f"{path}: damaged: {error}. Download it again, or take another copy"
        ) from error
    # torch.load raises many kinds of exceptions for damaged files, and its message for a file with
    # objects in it recommends to allow code.
    except Exception as error:
        raise CheckpointError(
            f"{path}: not a checkpoint of plain tensors; {_reason(path, error)}"
        ) from error
    content = content if isinstance(content, dict) else {}
    tensors = _state_dict(path, content)
    prefix = _prefix(tensors)
    facts = {key: value for key, value in content.items() if isinstance(key, str)}
    lightning = "pytorch-lightning_version" in content or "hyper_parameters" in content
    container = "PyTorch Lightning" if lightning else "PyTorch"
    return Contents(
        _without(prefix, tensors), container, prefix, facts, tuple(left_out), lightning, path.name
    )


def _reason(path: Path, error: Exception) -> str:
    with path.open("rb") as stream:
        starts_as_zip = stream.read(4) == b"PK\x03\x04"
    if (starts_as_zip and not _has_index(path)) or "unexpected EOF" in str(error):
        return "its end is missing. Download it again"
    if "TorchScript" in str(error):
        return "it is a TorchScript program. Save the state_dict of the module that it was made of"
    return (
        "it is damaged, of another format, or holds objects that only its own program can load. "
        "Download it again, or save its state_dict alone"
    )


def _has_index(path: Path) -> bool:
    """Return whether a zip file has its index, which is at its end, even a damaged one."""
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:
        return True


def _state_dict(path: Path, content: Mapping[Any, Any]) -> dict[str, Tensor]:
    named = (content[key] for key in _STATE_KEYS if isinstance(content.get(key), dict))
    state = next(named, content)
    if (
        not state
        or not all(isinstance(name, str) for name in state)
        or not all(isinstance(value, Tensor) for value in state.values())
    ):
        raise CheckpointError(f"{path}: holds no state_dict; expected parameter names and tensors")
    faults = {name: _fault(value) for name, value in state.items()}
    unread = [f"{shown(name)} is {fault}" for name, fault in faults.items() if fault]
    if unread:
        raise CheckpointError(
            f"{path}: {counted(len(unread))} that cannot be weights: {some(unread)}; expected "
            "plain tensors with their values in the file: save the network's state_dict on the CPU"
        )
    return dict(state)


def _is_finite(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _fault(value: Tensor) -> str | None:
    """Return why the values of a tensor are not in the file one by one; None: they are."""
    if value.is_meta:
        return "without values (on the device meta)"
    if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
        return "sparse or quantised"
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return "a repetition of fewer values (with strides of 0)"
    return None


def _prefix(tensors: Mapping[str, Tensor]) -> str:
    """Return what stands before all names, as DataParallel and enclosing modules put it there."""
    enclosing = zip(*(name.split(".")[:-1] for name in tensors), strict=False)
    shared = takewhile(lambda modules: len(set(modules)) == 1, enclosing)
    return "".join(f"{module}." for module, *_ in shared)


def _without(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items()}
