"""Weights: published checkpoints of both containers, safetensors, checkpoints of training."""

import contextlib
import functools
import io
import struct
import zipfile

import torch
from safetensors.torch import save

from tests.fuzz.reader import Reader, written
from training.checkpoint import load_checkpoint, save_checkpoint
from training.checkpoints.files import read_file
from training.config import TrainingError, parse
from training.weights import load_weights

NAMES = (
    "checkpoint: zip", "checkpoint: zip's pickle", "checkpoint: before 1.6", "safetensors",
    "safetensors: header", "training checkpoint",
)  # fmt: skip


def readers() -> list[Reader]:
    """See `Reader`."""
    return [
        Reader(NAMES[0], lambda: [_saved(zipped=True)], _read, (ValueError,)),
        Reader(NAMES[1], lambda: [_pickle()], lambda data: _read(_zip(data)), (ValueError,)),
        Reader(NAMES[2], lambda: [_saved(zipped=False)], _read, (ValueError,)),
        Reader(NAMES[3], lambda: [_safetensors()], _read, (ValueError,)),
        Reader(
            NAMES[4], lambda: [_header()], lambda data: _read(_with_header(data)), (ValueError,)
        ),
        Reader(NAMES[5], lambda: [_training()], _resume, (TrainingError,)),
    ]


def _tensors() -> dict[str, torch.Tensor]:
    return {"conv1.0.weight": torch.arange(24.0).reshape(2, 3, 2, 2), "conv1.0.bias": torch.ones(2)}


def _saved(*, zipped: bool) -> bytes:
    stream = io.BytesIO()
    content = {"arch": "flownets", "state_dict": _tensors(), "div_flow": 20, "best_EPE": 2.5}
    torch.save(content, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


def _pickle() -> bytes:
    with zipfile.ZipFile(io.BytesIO(_saved(zipped=True))) as archive:
        return archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))


def _zip(pickled: bytes) -> bytes:
    stream = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(_saved(zipped=True))) as source,
        zipfile.ZipFile(stream, "w") as archive,
    ):
        for name in source.namelist():
            archive.writestr(name, pickled if name.endswith("data.pkl") else source.read(name))
    return stream.getvalue()


def _safetensors() -> bytes:
    return save(_tensors(), {"network": "flownets", "epe": "{}"})


def _header() -> bytes:
    data = _safetensors()
    return data[8 : 8 + struct.unpack("<Q", data[:8])[0]]


def _with_header(header: bytes) -> bytes:
    data = _safetensors()
    return struct.pack("<Q", len(header)) + header + data[8 + len(_header()) :]


def _read(data: bytes) -> None:
    path = written(data, "weights")
    read_file(path)
    with contextlib.suppress(ValueError):  # the seeds are of no known network
        load_weights(path)


@functools.cache
def _config():
    return parse(["--out", "nowhere", "--network", "flownets_slim"])


def _training() -> bytes:
    path = written(b"", "last.pt")
    state = {"network": _tensors(), "step": 3, "best": 2.5, "rng": torch.arange(9)}
    save_checkpoint(path, _config(), "random", state)
    return path.read_bytes()


def _resume(data: bytes) -> None:
    load_checkpoint(written(data, "last.pt"), _config(), "random", torch.device("cpu"))
