"""Checkpoints with objects beside their tensors: they load, and nothing in them runs."""

import argparse
import collections
import functools
import os
import pickle
import struct
import types
import zipfile
from collections.abc import Callable
from pathlib import Path, PosixPath

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from training.checkpoints.files import CheckpointError, read_file
from training.checkpoints.unpickling import UnsafePickleError, load

WEIGHT = torch.arange(6.0).reshape(2, 3)


class AttributeDict(dict):  # as Lightning's
    def __getattr__(self, name: str) -> object:
        return self[name]


class Callback:  # of a training program that is not installed
    def __init__(self) -> None:
        self.best = Path("best.ckpt")


class Runs:
    """An object whose unpickling calls a function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> object:
        return self.call


def save(path: Path, content: object, *, zipped: bool) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
@pytest.mark.parametrize(
    "extra",
    [
        np.float64(2.5),
        np.zeros(3, np.float32),
        np.dtype("float32"),
        argparse.Namespace(lr=1e-4, crop=[384, 512]),
        types.SimpleNamespace(lr=1),
        PosixPath("/data/chairs"),
        collections.defaultdict(list, {1: [2]}),
        AttributeDict(lr=1e-4, loss=Callback()),
        {"ModelCheckpoint": Callback()},
        functools.partial(print, "epoch"),
        slice(1, 2),
    ],
    ids=lambda extra: type(extra).__name__,
)
def test_other_objects_are_left_out(tmp_path: Path, extra: object, *, zipped: bool) -> None:
    content = {"epoch": 3, "state_dict": {"w": WEIGHT}, "extra": extra}
    contents = read_file(save(tmp_path / "x.ckpt", content, zipped=zipped))
    assert torch.equal(contents.tensors["w"], WEIGHT)
    assert contents.plain_facts == {"epoch": 3}


def test_a_file_of_python_2_and_pytorch_0_3_loads(tmp_path: Path) -> None:
    """Names are byte strings, tensors are made by _rebuild_tensor, the best error is NumPy's."""
    content = (
        b"\x80\x02}(U\x05epochK\x01U\x0astate_dictccollections\nOrderedDict\n)R("
        b"U\x01wctorch._utils\n_rebuild_tensor\n((U\x07storagectorch\nFloatStorage\nU\x010"
        b"U\x03cpuK\x03NtQK\x00K\x03\x85K\x01\x85tRu"
        b"U\x08best_EPEcnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbU\x08\0\0\0\0\0\0\x04@tRu."
    )
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    start = (pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, system))
    data = struct.pack("<q3f", 3, 1, 2, 3)
    path = tmp_path / "x.pth.tar"
    path.write_bytes(b"".join(start) + content + pickle.dumps(["0"], 2) + data)
    contents = read_file(path)
    assert contents.tensors["w"].tolist() == [1, 2, 3]
    assert contents.plain_facts == {"epoch": 1}


def test_left_out_classes_are_named(tmp_path: Path) -> None:
    content = {"state_dict": {"w": WEIGHT}, "args": argparse.Namespace(lr=1), "best": np.float64(2)}
    _, left_out = load(save(tmp_path / "x.pth", content, zipped=True))
    assert left_out == ["argparse.Namespace", "numpy._core.multiarray.scalar", "numpy.dtype"]


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
@pytest.mark.parametrize(
    ("function", "argument", "name"),
    [
        (os.system, "touch {}", "posix.system"),
        (eval, "open({!r}, 'w')", "builtins.eval"),
        (exec, "open({!r}, 'w')", "builtins.exec"),
        (pickle.loads, "{}", "pickle.loads"),
    ],
)
def test_files_that_run_code_are_refused(
    tmp_path: Path, function: Callable[..., object], argument: str, name: str, *, zipped: bool
) -> None:
    made = tmp_path / "made"
    attack = Runs(function, argument.format(str(made)))
    path = save(tmp_path / "x.pth", {"state_dict": {"w": WEIGHT}, "x": attack}, zipped=zipped)
    with pytest.raises(UnsafePickleError) as caught:
        load(path)
    assert name.rpartition(".")[2] in str(caught.value)
    with pytest.raises(CheckpointError, match=r"functions that run code .* None was run"):
        read_file(path)
    assert not made.exists()


def _make(path: str) -> None:
    Path(path).touch()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
def test_unknown_functions_are_not_called(tmp_path: Path, *, zipped: bool) -> None:
    attack = Runs(_make, str(tmp_path / "made"))
    path = save(tmp_path / "x.pth", {"state_dict": {"w": WEIGHT}, "x": attack}, zipped=zipped)
    contents = read_file(path)
    assert torch.equal(contents.tensors["w"], WEIGHT)
    assert contents.left_out == (f"{__name__}._make",)
    assert not (tmp_path / "made").exists()
    torch.load(path, weights_only=False)  # the file is what it claims to be
    assert (tmp_path / "made").exists()


def test_weights_of_an_unknown_class_are_no_tensors(tmp_path: Path) -> None:
    path = save(tmp_path / "x.pth", {"state_dict": {"w": Callback()}}, zipped=True)
    with pytest.raises(CheckpointError, match="holds no state_dict"):
        read_file(path)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0.01, 1, exclude_max=True))
def test_half_a_file_is_refused(tmp_path: Path, share: float, *, zipped: bool) -> None:
    content = {"state_dict": {f"layer{i}.weight": torch.ones(50) for i in range(20)}}
    data = save(tmp_path / "x.pth", content, zipped=zipped).read_bytes()
    (tmp_path / "half.pth").write_bytes(data[: int(share * len(data))])
    with pytest.raises(CheckpointError, match=r"half\.pth: not a checkpoint of plain tensors"):
        read_file(tmp_path / "half.pth")


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"<!DOCTYPE html>", "but a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS; run `git lfs pull`"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    ],
)
def test_other_files_are_told_apart(tmp_path: Path, start: bytes, message: str) -> None:
    (tmp_path / "x.pth").write_bytes(start)
    with pytest.raises(CheckpointError, match=message):
        read_file(tmp_path / "x.pth")


def test_torchscript_is_told_apart(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            archive.writestr(f"x/{name}", b"")
    with pytest.raises(CheckpointError, match="a TorchScript program"):
        read_file(tmp_path / "x.pt")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="a folder; expected a weights file"):
        read_file(tmp_path)


@pytest.mark.parametrize("prefix", ["module.", "model.", "model.module.", ""])
def test_a_prefix_of_all_names_is_removed(tmp_path: Path, prefix: str) -> None:
    state = {f"{prefix}conv1.weight": WEIGHT, f"{prefix}module_conv.bias": WEIGHT}
    contents = read_file(save(tmp_path / "x.pth", state, zipped=True))
    assert contents.tensors.keys() == {"conv1.weight", "module_conv.bias"}
    assert contents.prefix == prefix


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_the_state_dict_is_found(tmp_path: Path, key: str) -> None:
    content = {"optimizer": {"state": {0: WEIGHT}}, key: {"w": WEIGHT}, "iteration": 5}
    assert read_file(save(tmp_path / "x.pth", content, zipped=True)).tensors.keys() == {"w"}


def test_lightning_is_recognised(tmp_path: Path) -> None:
    content = {"state_dict": {"w": WEIGHT}, "pytorch-lightning_version": "2.1", "epoch": 1}
    contents = read_file(save(tmp_path / "x.ckpt", content, zipped=True))
    assert contents.lightning
    assert contents.container == "PyTorch Lightning"
