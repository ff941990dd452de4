import logging
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from engine import backends
from engine.backends import available_threads, import_runtime, open_backend
from engine.backends import onnxruntime as onnxruntime_backend
from engine.errors import (
    BackendError,
    BackendNotInstalledError,
    HardwareMissingError,
    InputError,
    PlanMismatchError,
)
from engine.manifest import BundleFile, read_manifest, sha256_of

HAS_CUDA = "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def opened(name, bundle, *, manifest=None, device=0, threads=1):
    manifest = manifest or read_manifest(bundle)
    return open_backend(name, bundle, manifest, device=device, threads=threads)


@pytest.fixture
def openvino():
    return pytest.importorskip("openvino", reason="openvino is an optional extra")


@pytest.fixture
def pair(rng):
    return rng.integers(0, 256, (2, 1, 64, 128, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_cpu_backends_run(name, tiny_bundle, tiny_flow, pair):
    if name == "openvino":
        pytest.importorskip("openvino", reason="openvino is an optional extra")
    backend = opened(name, tiny_bundle)
    assert (backend.name, backend.device, backend.profile) == (name, "cpu", None)
    assert backend.runtime_version[0].isdigit()
    flow = backend.run(*pair)
    assert flow.dtype == np.float32
    np.testing.assert_allclose(flow, tiny_flow(*pair), atol=1e-5)
    assert backend.device_ms() is None
    backend.close()


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_CUDA, reason="needs onnxruntime-gpu and an NVIDIA GPU")
def test_cuda_runs(tiny_bundle, tiny_flow, pair):
    backend = opened("onnxruntime-cuda", tiny_bundle)
    assert backend.device == "cuda:0"
    assert backend.device_ms() is None
    np.testing.assert_allclose(backend.run(*pair), tiny_flow(*pair), atol=1e-5)
    assert backend.device_ms() > 0
    backend.close()


def test_cuda_class_runs_on_the_provider_it_names(monkeypatch, tiny_bundle, tiny_flow, pair):
    monkeypatch.setattr(onnxruntime_backend, "_CUDA", "CPUExecutionProvider")
    backend = opened("onnxruntime-cuda", tiny_bundle, device=1)
    assert backend.device == "cuda:1"
    np.testing.assert_allclose(backend.run(*pair), tiny_flow(*pair), atol=1e-5)
    backend.close()


@pytest.mark.skipif(HAS_CUDA, reason="CUDA is there")
def test_cuda_never_falls_back_to_the_cpu(monkeypatch, tiny_bundle, capfd):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider"),
        pytest.raises(
            HardwareMissingError, match=r"cannot use CUDAExecutionProvider here and offers CPU"
        ),
    ):
        opened("onnxruntime-cuda", tiny_bundle)
    assert "Falling back" not in capfd.readouterr().out


@pytest.mark.parametrize(("gpus", "error"), [(0, HardwareMissingError), (1, BackendError)])
def test_cuda_tells_a_missing_gpu_from_a_bad_model(monkeypatch, tiny_bundle, tmp_path, gpus, error):
    monkeypatch.setattr(onnxruntime_backend, "_CUDA", "CPUExecutionProvider")
    monkeypatch.setattr(onnxruntime_backend, "_gpu_count", lambda: gpus)
    (tmp_path / "model.onnx").write_bytes(b"no model at all")
    with pytest.raises(BackendError, match=r"onnxruntime [\d.]+ cannot load") as caught:
        opened("onnxruntime-cuda", tmp_path, manifest=read_manifest(tiny_bundle))
    assert type(caught.value) is error


@pytest.mark.skipif(HAS_CUDA, reason="CUDA is there")
def test_cuda_is_not_in_the_cpu_wheel(tiny_bundle):
    message = (
        r"needs CUDAExecutionProvider; .* Install it: "
        r"pip uninstall -y onnxruntime onnxruntime-gpu && "
        r'pip install "onnxruntime-gpu\[cuda,cudnn\]"'
    )
    with pytest.raises(BackendNotInstalledError, match=message):
        opened("onnxruntime-cuda", tiny_bundle)


@pytest.mark.parametrize(
    ("name", "module", "command"),
    [
        ("openvino", "openvino", "pip install openvino"),
        ("onnxruntime", "onnxruntime", "pip install onnxruntime"),
        ("onnxruntime-cuda", "onnxruntime", r'pip install "onnxruntime-gpu\[cuda,cudnn\]"'),
    ],
)
def test_not_installed(monkeypatch, tiny_bundle, name, module, command):
    monkeypatch.setitem(sys.modules, module, None)
    message = f"backend {name} needs the package {module}, which is not installed.*{command}"
    with pytest.raises(BackendNotInstalledError, match=message):
        opened(name, tiny_bundle)


@pytest.mark.parametrize(
    "source", ["raise ImportError('libx.so.9: not\\nfound')", "import no_such_dependency"]
)
def test_broken_installation(monkeypatch, tmp_path, source):
    (tmp_path / "broken_runtime.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    message = "package broken_runtime is installed but does not load: .*Reinstall it: pip install b"
    with pytest.raises(BackendError, match=message) as caught:
        import_runtime("broken_runtime", "b", install="pip install b")
    assert not isinstance(caught.value, BackendNotInstalledError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_bundle_without_the_file(name, tiny_bundle):
    pytest.importorskip(name, reason=f"{name} is not installed")
    manifest = read_manifest(tiny_bundle)
    manifest = replace(manifest, files={"model.plan": manifest.files["model.onnx"]})
    message = rf"backend {name} needs model\.onnx; .* --precision fp32 --targets {name} -o "
    with pytest.raises(BackendError, match=message):
        opened(name, tiny_bundle, manifest=manifest)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_file_that_is_no_model(name, tiny_bundle, tmp_path):
    pytest.importorskip(name, reason=f"{name} is not installed")
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    model = bundle / "model.onnx"
    model.write_bytes(b"no model at all")
    files = {"model.onnx": BundleFile(15, sha256_of(model), "none", None)}
    manifest = replace(read_manifest(bundle), files=files)
    with pytest.raises(BackendError, match=rf"{name} [\d.]+ cannot load .*model\.onnx: "):
        opened(name, bundle, manifest=manifest)


def test_unknown_backend(tiny_bundle):
    message = r"unknown backend 'tensort'; expected one of auto, .*\. Did you mean 'tensorrt'\?"
    with pytest.raises(InputError, match=message):
        opened("tensort", tiny_bundle)


class Good:
    device = "cpu"

    def __init__(self, bundle, manifest, *, device, threads):
        self.arguments = device, threads


class Missing:
    def __init__(self, bundle, manifest, *, device, threads):
        raise BackendNotInstalledError("pip install it")


class Mismatched:
    def __init__(self, bundle, manifest, *, device, threads):
        raise PlanMismatchError("another GPU")


class Defective:
    def __init__(self, bundle, manifest, *, device, threads):
        raise ZeroDivisionError


def use_backends(monkeypatch, **classes):
    monkeypatch.setitem(sys.modules, "fake_runtimes", SimpleNamespace(**classes))
    monkeypatch.setattr(backends, "BACKENDS", {name: f"fake_runtimes:{name}" for name in classes})


def test_auto_takes_the_first_that_opens_and_says_why(monkeypatch, caplog, tiny_bundle):
    use_backends(monkeypatch, missing=Missing, other=Mismatched, good=Good, better=Defective)
    with caplog.at_level(logging.INFO, logger="engine"):
        backend = opened("auto", tiny_bundle, device=2, threads=3)
    assert isinstance(backend, Good)
    assert backend.arguments == (2, 3)
    assert caplog.messages == [
        "backend missing does not open: pip install it",
        "backend other does not open: another GPU",
        "backend good opens on cpu",
    ]


def test_auto_lists_all_reasons(monkeypatch, tiny_bundle):
    use_backends(monkeypatch, missing=Missing, other=Mismatched)
    message = r"no backend can run .* here\. missing: pip install it; other: another GPU\.$"
    with pytest.raises(BackendError, match=message):
        opened("auto", tiny_bundle)


def test_auto_does_not_hide_defects(monkeypatch, tiny_bundle):
    use_backends(monkeypatch, bad=Defective, good=Good)
    with pytest.raises(ZeroDivisionError):
        opened("auto", tiny_bundle)


def test_a_named_backend_never_falls_back(monkeypatch, tiny_bundle):
    use_backends(monkeypatch, missing=Missing, good=Good)
    with pytest.raises(BackendNotInstalledError, match="pip install it"):
        opened("missing", tiny_bundle)


def test_openvino_settings(openvino, tiny_bundle):
    backend = opened("openvino", tiny_bundle, threads=1)
    compiled = backend._compiled
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert compiled.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32
    assert compiled.get_property("ENABLE_CPU_PINNING") is False
    backend.close()


@pytest.mark.parametrize(("threads", "expected"), [(3, 3), (None, 5)])
def test_onnxruntime_threads(monkeypatch, tiny_bundle, threads, expected):
    monkeypatch.setattr(onnxruntime_backend, "available_threads", lambda: 5)
    backend = opened("onnxruntime", tiny_bundle, threads=threads)
    assert backend._session.get_session_options().intra_op_num_threads == expected
    backend.close()


def cgroup(tmp_path, **limits):
    """Write ``cpu.max`` files; return the folder and the membership file of group /a/b."""
    root = tmp_path / "cgroup"
    (root / "a" / "b").mkdir(parents=True)
    for name, text in limits.items():
        (root / {"root": ".", "a": "a", "b": "a/b"}[name] / "cpu.max").write_text(text)
    membership = tmp_path / "membership"
    membership.write_text("9:name=systemd:/x\n0::/a/b\n")
    return root, membership


@pytest.mark.parametrize(
    ("limits", "quota"),
    [
        ({}, float("inf")),
        ({"b": "max 100000\n"}, float("inf")),
        ({"b": "150000 100000\n"}, 1.5),
        ({"a": "50000 100000\n", "b": "400000 100000\n"}, 0.5),
        ({"root": "200000 100000\n", "b": "max 100000\n"}, 2.0),
    ],
)
def test_cgroup_quota(tmp_path, limits, quota):
    assert backends._cgroup_quota(*cgroup(tmp_path, **limits)) == quota


def test_no_cgroup(tmp_path):
    assert backends._cgroup_quota(tmp_path, tmp_path / "missing") == float("inf")


@pytest.mark.skipif(not hasattr(backends.os, "sched_getaffinity"), reason="Linux only")
@pytest.mark.parametrize(("quota", "threads"), [(float("inf"), 4), (2.9, 2), (0.3, 1), (16.0, 4)])
def test_available_threads(monkeypatch, quota, threads):
    monkeypatch.setattr(backends.os, "sched_getaffinity", lambda _: {0, 1, 2, 7})
    monkeypatch.setattr(backends, "_cgroup_quota", lambda *_: quota)
    assert available_threads() == threads


def test_available_threads_elsewhere(monkeypatch):
    monkeypatch.delattr(backends.os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(backends.os, "cpu_count", lambda: 6)
    assert available_threads() == 6
