"""ONNX Runtime's TensorRT providers in the bench: options and errors."""

import sys

import numpy as np
import onnxruntime
import pytest

from bench.harness.worker import Job, open_runner
from bench.runners.onnxruntime_tensorrt import BACKENDS
from bench.runners.registry import BY_NAME
from engine.backends.onnxruntime import cuda_backend
from engine.bundle.manifest import read_manifest, write_manifest
from engine.errors import BackendError, BackendNotInstalledError, HardwareMissingError
from tests.support.onnxruntime_double import gpu, opened, pair_of
from tests.support.tiny_network import in_precision

__all__ = ["gpu", "pair_of"]

HAS_CUDA = "CUDAExecutionProvider" in onnxruntime.get_available_providers()


@pytest.fixture(params=BACKENDS)
def backend(request):
    return BACKENDS[request.param]


@pytest.fixture
def fp16(tiny_bundle):
    return in_precision(read_manifest(tiny_bundle), "fp16")


@pytest.mark.gpu
def test_runs_on_a_gpu(tiny_bundle, tiny_flow, pair_of, backend, fp16):
    if backend.provider not in onnxruntime.get_available_providers():
        pytest.skip(f"the installed onnxruntime has no {backend.provider}")
    pytest.importorskip(backend.package, reason=f"{backend.name} needs its libraries")
    loaded = opened(tiny_bundle, backend, manifest=fp16)
    for size in [(64, 128), (64, 64), (64, 128)]:
        pair = pair_of(*size)
        np.testing.assert_allclose(loaded.run(*pair), tiny_flow(*pair), rtol=1e-2)  # TF32
    assert loaded.device_ms() > 0
    loaded.close()


def test_options(gpu, tiny_bundle, tiny_flow, pair_of, backend, fp16):
    prefix, graph = {
        "onnxruntime-tensorrt": ("trt", "trt_cuda_graph_enable"),
        "onnxruntime-tensorrt-rtx": ("nv", "enable_cuda_graph"),
    }[backend.name]
    loaded = opened(tiny_bundle, backend, manifest=fp16, device=1)
    pair = pair_of(64, 128)
    np.testing.assert_allclose(loaded.run(*pair), tiny_flow(*pair), atol=1e-5)
    assert loaded.profile == fp16.profile
    assert loaded.device == "cuda:1"
    (session,) = gpu.sessions
    assert session.provider == backend.provider
    assert session.options == {
        "device_id": 1,
        f"{prefix}_profile_min_shapes": "image1:1x64x64x3,image2:1x64x64x3",
        f"{prefix}_profile_opt_shapes": "image1:1x128x192x3,image2:1x128x192x3",
        f"{prefix}_profile_max_shapes": "image1:4x256x320x3,image2:4x256x320x3",
        graph: True,  # these providers refuse "1", accept only "True" and "False"
    }
    assert str(session.options[graph]) == "True"
    entry = session.settings.get_session_config_entry
    assert entry("session.disable_cpu_ep_fallback") == "1"
    with pytest.raises(RuntimeError):
        entry("session.disable_quant_qdq")  # would make the weights float before TensorRT
    loaded.close()


def test_the_row_of_the_table(gpu, monkeypatch, tiny_bundle, tmp_path, backend, fp16, rng):
    for name in fp16.files:
        (tmp_path / name).write_bytes((tiny_bundle / name).read_bytes())
    write_manifest(tmp_path, fp16)
    runner = open_runner(
        Job(
            factory=BY_NAME[backend.name].factory,
            network="tiny",
            backend=backend.name,
            precision="fp16",
            batch=1,
            threads=1,
            pairs="",
            bundle=str(tmp_path),
        )
    )
    images = rng.integers(0, 256, (2, 1, 40, 70, 3), dtype=np.uint8)
    assert runner.run(*images).shape == (1, 40, 70, 2)
    assert runner.device == "cuda:0"
    assert [session.provider for session in gpu.sessions] == [backend.provider]
    runner.close()


def test_fp32_needs_tf32_switched_off(gpu, monkeypatch, tiny_bundle, backend):
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    message = rf"backend {backend.name} computes an fp32 bundle in TF32.*NVIDIA_TF32_OVERRIDE=0"
    with pytest.raises(BackendError, match=message):
        opened(tiny_bundle, backend)
    assert gpu.sessions == []
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    opened(tiny_bundle, backend).close()


@pytest.mark.skipif(HAS_CUDA, reason="this machine has CUDA")
@pytest.mark.parametrize(("gpus", "error"), [(0, HardwareMissingError), (1, BackendError)])
def test_the_provider_runs_every_node(monkeypatch, tiny_bundle, backend, fp16, gpus, error):
    # ONNX Runtime itself finds that the nodes would run on the CPU.
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [backend.provider])
    monkeypatch.setattr(cuda_backend, "_gpu_count", lambda: gpus)
    message = (
        "nodes that are assigned to the default CPU EP.* "
        f"{backend.provider} has to run every node: .* Install them: pip uninstall"
    )
    with (
        pytest.warns(UserWarning, match=backend.provider),
        pytest.raises(BackendError, match=message) as caught,
    ):
        opened(tiny_bundle, backend, manifest=fp16)
    assert type(caught.value) is error


def test_the_package_lacks_the_provider(monkeypatch, tiny_bundle, backend):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    message = (
        rf"backend {backend.name} needs {backend.provider}; .* has CPUExecutionProvider\. "
        r"Install it: pip uninstall -y .* pip install \S*onnxruntime-(gpu|trt-rtx)"
    )
    with pytest.raises(BackendNotInstalledError, match=message):
        opened(tiny_bundle, backend)


def test_onnxruntime_is_not_installed(monkeypatch, tiny_bundle, backend):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendNotInstalledError, match=r"needs the package onnxruntime.*pip in"):
        opened(tiny_bundle, backend)
