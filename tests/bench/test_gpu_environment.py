"""What a machine's GPUs are and which runtimes see them, told from what each says."""

import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest

from bench import gpu_environment
from bench.gpu_environment import Card, cards, lacks, main, portable_plan, report, tried
from engine.bundle.manifest import Parity, read_manifest, write_manifest
from engine.errors import BackendError, BackendNotInstalledError, HardwareMissingError
from engine.system.cpu import gpus

LINES = ["NVIDIA H200, 580.159.04, 9.0", "NVIDIA GeForce RTX 4090, 580.1, 8.9"]


def has_gpu():
    try:
        return bool(gpus())
    except BackendError:
        return False


def test_cards(monkeypatch):
    monkeypatch.setattr(gpu_environment, "gpus", lambda: LINES)
    first, second = cards()
    assert first == Card("NVIDIA H200", "580.159.04", "9.0")
    assert (first.file_name, first.architecture) == ("nvidia-h200", "90")
    assert (second.file_name, second.architecture) == ("nvidia-geforce-rtx-4090", "89")


def test_a_name_is_always_a_file_name():
    assert Card("NVIDIA A100-SXM4 (80GB)/x ", "1", "8.0").file_name == "nvidia-a100-sxm4-80gb-x"


def test_no_card(monkeypatch):
    monkeypatch.setattr(gpu_environment, "gpus", list)
    with pytest.raises(RuntimeError, match="nvidia-smi lists no GPU"):
        cards()


@pytest.mark.skipif(has_gpu(), reason="there is a GPU")
def test_a_runtime_that_sees_no_gpu():
    """In a process of its own, as it is here."""
    found = tried("pycuda")
    assert set(found) == {"version", "sees_gpu", "said"}
    assert not found["sees_gpu"]
    assert found["said"]


def test_a_runtime_that_ends_its_process():
    found = tried("no such runtime")
    assert (found["version"], found["sees_gpu"]) == (None, False)
    assert found["said"] == "the process ended with exit code 1: KeyError: 'no such runtime'"


class Tensor:
    def sum(self):
        return self

    def item(self):
        return 2.0


def ones(count, *, device):
    assert (count, device) == (2, "cuda")
    return Tensor()


def blind(count, *, device):
    raise RuntimeError("no kernel image is available\nfor sm_90")


@pytest.mark.parametrize(
    ("function", "sees", "said"),
    [(ones, True, "NVIDIA X"), (blind, False, "no kernel image is available for sm_90")],
)
def test_torch(monkeypatch, capsys, function, sees, said):
    torch = SimpleNamespace(
        __version__="2.13.0+cu130",
        version=SimpleNamespace(cuda="13.0"),
        cuda=SimpleNamespace(get_device_name=lambda: "NVIDIA X"),
        ones=function,
    )
    monkeypatch.setattr("importlib.import_module", lambda name: {"torch": torch}[name])
    main("torch")
    assert json.loads(capsys.readouterr().out) == {
        "version": "2.13.0+cu130, CUDA 13.0", "sees_gpu": sees, "said": said
    }  # fmt: skip


def fail(error):
    def function(*_, **__):
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "version"),
    [
        (HardwareMissingError("no  driver."), "1.2"),
        (TypeError("factory function returned nullptr"), "1.2"),
        (BackendNotInstalledError("no driver"), "1.2"),
    ],
)
def test_tensorrt_that_does_not_start(monkeypatch, capsys, error, version):
    messages = SimpleNamespace(take=lambda: "no driver")
    runtime = SimpleNamespace(module=SimpleNamespace(__version__=version))
    monkeypatch.setattr(gpu_environment, "load_tensorrt", lambda names: runtime)
    monkeypatch.setattr(gpu_environment, "message_log", lambda module: messages)
    monkeypatch.setattr(gpu_environment, "Device", fail(error))
    main("tensorrt_rtx")
    assert json.loads(capsys.readouterr().out) == {
        "version": version, "sees_gpu": False, "said": "no driver"
    }  # fmt: skip


def test_a_runtime_that_does_not_import(monkeypatch, capsys):
    monkeypatch.setattr(gpu_environment, "load_tensorrt", fail(BackendNotInstalledError("none")))
    main("tensorrt")
    found = json.loads(capsys.readouterr().out)
    assert found == {"version": None, "sees_gpu": False, "said": "none"}


def runtimes(*seeing):
    names = gpu_environment.RUNTIMES
    return {name: {"sees_gpu": name in seeing, "said": f"{name} said"} for name in names}


@pytest.mark.parametrize(
    ("seeing", "lacking"),
    [
        (["torch", "onnxruntime", "pycuda", "tensorrt_rtx"], []),
        (["torch", "onnxruntime", "pycuda", "tensorrt"], []),
        (["torch", "pycuda", "tensorrt"], ["onnxruntime: onnxruntime said"]),
        (
            ["torch", "onnxruntime", "pycuda"],
            ["tensorrt: tensorrt said", "tensorrt_rtx: tensorrt_rtx said"],
        ),
    ],
)
def test_what_a_machine_lacks(seeing, lacking):
    assert lacks(runtimes(*seeing)) == lacking


def test_the_report(monkeypatch):
    monkeypatch.setattr(gpu_environment, "gpus", lambda: LINES)
    monkeypatch.setattr(gpu_environment, "tried", lambda name: {"name": name})
    found = json.loads(json.dumps(report()))
    assert set(found) == {"schema", "environment", "gpus", "cuda", "runtimes", "doctor"}
    assert found["gpus"][0] == {
        "name": "NVIDIA H200", "driver": "580.159.04", "compute_capability": "9.0"
    }  # fmt: skip
    assert found["runtimes"] == {name: {"name": name} for name in gpu_environment.RUNTIMES}
    assert found["doctor"][0].startswith("engine ")
    assert set(found["cuda"]) == {"driver", "toolkit"}
    if shutil.which("nvcc"):
        assert re.fullmatch(r"[0-9]+\.[0-9]+", found["cuda"]["toolkit"])


@pytest.fixture
def built(monkeypatch, tmp_path, tiny_bundle):
    """Stands in for the build: puts a bundle of this parity, or fails."""

    def build(parity=None, program=""):
        source = tmp_path / "source"
        shutil.copytree(tiny_bundle, source)
        manifest = read_manifest(source)
        write_manifest(source, replace(manifest, parity=tuple([parity] if parity else [])))
        copy = f"import shutil, sys; shutil.copytree({str(source)!r}, sys.argv[-1])"
        monkeypatch.setattr(gpu_environment, "BUILD", program or f"print('warning: x'); {copy}")
        return portable_plan(tmp_path / "plan")

    return build


def test_a_plan_that_runs(built):
    assert built(Parity("tensorrt", "ok", None, 0.01, 0.2, None, "a pair")) == {
        "status": "ok", "said": None, "mean_px": 0.01, "output": ["warning: x"]
    }  # fmt: skip


def test_a_plan_that_does_not_run(built):
    said = "model.rtx needs a GPU that TensorRT for RTX makes portable plans for"
    found = built(Parity("tensorrt", "not run", said, None, None, None, "a pair"))
    assert (found["status"], found["said"], found["mean_px"]) == ("not run", said, None)


def test_a_plan_that_is_not_built(built):
    program = "import sys; print('a\\nb\\nc', flush=True); sys.exit('error: no')"
    found = built(program=program)
    assert (found["status"], found["said"]) == ("failed", "b c error: no")
    assert found["output"] == ["a", "b", "c", "error: no"]
