"""ONNX Runtime's GPU backends: what they ask of it, and what they say when they cannot have it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest

from engine.backends.onnxruntime import cuda as onnxruntime_cuda
from engine.backends.onnxruntime.cuda import (
    OnnxRuntimeCudaBackend,
    OnnxRuntimeTensorRTBackend,
    OnnxRuntimeTensorRTRTXBackend,
)
from engine.bundle.manifest import read_manifest, sha256_of
from engine.errors import BackendError, BackendNotInstalledError, HardwareMissingError
from tests.engine.onnxruntime_double import opened

HAS_CUDA = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
TENSORRT = (OnnxRuntimeTensorRTBackend, OnnxRuntimeTensorRTRTXBackend)
ALL = (OnnxRuntimeCudaBackend, *TENSORRT)


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_CUDA, reason="needs onnxruntime-gpu and an NVIDIA GPU")
@pytest.mark.parametrize("streams", [1, 2])
def test_cuda_runs(tiny_bundle, tiny_flow, pair_of, caplog, streams):
    backend = opened("onnxruntime-cuda", tiny_bundle, streams=streams)
    assert backend.device == "cuda:0"
    assert backend.device_ms() is None
    sizes = [(64, 128), (128, 64), (64, 64), (128, 128), (192, 64)]
    pairs = [pair_of(*size) for size in sizes * 3]
    for pair in pairs:
        np.testing.assert_allclose(backend.run(*pair), tiny_flow(*pair), atol=1e-5)
    with ThreadPoolExecutor(4) as pool:
        for pair, flow in zip(pairs, pool.map(lambda pair: backend.run(*pair), pairs), strict=True):
            np.testing.assert_allclose(flow, tiny_flow(*pair), atol=1e-5)
    assert backend.device_ms() > 0
    backend.close()
    assert "no CUDA graph" not in caplog.text


@pytest.mark.gpu
@pytest.mark.parametrize("backend", TENSORRT, ids=lambda backend: backend.name)
def test_tensorrt_runs(tiny_bundle, tiny_flow, pair_of, backend):
    if backend.provider not in onnxruntime.get_available_providers():
        pytest.skip(f"the installed onnxruntime has no {backend.provider}")
    pytest.importorskip(backend._package, reason=f"{backend.name} needs its libraries")
    manifest = replace(read_manifest(tiny_bundle), precision="fp16")
    loaded = opened(backend.name, tiny_bundle, manifest=manifest)
    for size in [(64, 128), (64, 64), (64, 128)]:
        pair = pair_of(*size)
        np.testing.assert_allclose(loaded.run(*pair), tiny_flow(*pair), rtol=1e-2)  # TF32
    assert loaded.device_ms() > 0
    loaded.close()


@pytest.mark.parametrize(("precision", "tf32"), [("fp32", 0), ("fp16", 1), ("int8", 1)])
def test_cuda_options(gpu, tiny_bundle, precision, tf32):
    manifest = replace(read_manifest(tiny_bundle), precision=precision)
    opened("onnxruntime-cuda", tiny_bundle, manifest=manifest, device=3).close()
    (session,) = gpu.sessions
    assert session.provider == "CUDAExecutionProvider"
    assert session.options == {"device_id": 3, "use_tf32": tf32, "enable_cuda_graph": True}
    entry = session.settings.get_session_config_entry
    assert entry("session.disable_quant_qdq") == "1"  # int8 is computed in float


@pytest.mark.parametrize(
    ("backend", "prefix", "graph"),
    [
        (OnnxRuntimeTensorRTBackend, "trt", "trt_cuda_graph_enable"),
        (OnnxRuntimeTensorRTRTXBackend, "nv", "enable_cuda_graph"),
    ],
)
def test_tensorrt_options(gpu, tiny_bundle, tiny_flow, pair_of, backend, prefix, graph):
    manifest = replace(read_manifest(tiny_bundle), precision="fp16")
    loaded = opened(backend.name, tiny_bundle, manifest=manifest, device=1)
    pair = pair_of(64, 128)
    np.testing.assert_allclose(loaded.run(*pair), tiny_flow(*pair), atol=1e-5)
    assert loaded.profile == manifest.profile  # sizes beyond it are refused with the engine's words
    assert loaded.device == "cuda:1"
    (session,) = gpu.sessions
    assert session.provider == backend.provider
    assert session.options == {
        "device_id": 1,
        f"{prefix}_profile_min_shapes": "image1:1x64x64x3,image2:1x64x64x3",
        f"{prefix}_profile_opt_shapes": "image1:1x128x192x3,image2:1x128x192x3",
        f"{prefix}_profile_max_shapes": "image1:4x256x320x3,image2:4x256x320x3",
        graph: True,  # "1" is refused by this provider: only "True" and "False"
    }
    assert str(session.options[graph]) == "True"
    entry = session.settings.get_session_config_entry
    assert entry("session.disable_cpu_ep_fallback") == "1"
    with pytest.raises(RuntimeError):
        entry("session.disable_quant_qdq")  # its weights would be float before TensorRT sees them
    loaded.close()


@pytest.mark.parametrize("backend", TENSORRT, ids=lambda backend: backend.name)
def test_tensorrt_and_fp32(gpu, monkeypatch, tiny_bundle, backend):
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE", raising=False)
    message = rf"backend {backend.name} computes an fp32 bundle in TF32.*NVIDIA_TF32_OVERRIDE=0"
    with pytest.raises(BackendError, match=message):
        opened(backend.name, tiny_bundle)
    assert gpu.sessions == []
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    opened(backend.name, tiny_bundle).close()


@pytest.mark.skipif(HAS_CUDA, reason="CUDA is there")
@pytest.mark.parametrize("streams", [1, 2])
def test_cuda_never_falls_back_to_the_cpu(monkeypatch, tiny_bundle, capfd, caplog, streams):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider") as opened_with_it,
        pytest.raises(
            HardwareMissingError, match=r"cannot use CUDAExecutionProvider here and offers CPU"
        ),
    ):
        opened("onnxruntime-cuda", tiny_bundle, streams=streams)
    assert "Falling back" not in capfd.readouterr().out
    assert len(opened_with_it) == 1  # without graphs it would not start either
    assert caplog.messages == []


@pytest.mark.skipif(HAS_CUDA, reason="CUDA is there")
@pytest.mark.parametrize("backend", TENSORRT, ids=lambda backend: backend.name)
@pytest.mark.parametrize(("gpus", "error"), [(0, HardwareMissingError), (1, BackendError)])
def test_tensorrt_takes_every_node_or_none(monkeypatch, tiny_bundle, capfd, backend, gpus, error):
    # ONNX Runtime itself finds that the nodes would run on the CPU.
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [backend.provider])
    monkeypatch.setattr(onnxruntime_cuda, "_gpu_count", lambda: gpus)
    manifest = replace(read_manifest(tiny_bundle), precision="fp16")
    message = (
        "nodes that are assigned to the default CPU EP.* "
        f"{backend.provider} has to take every node: .* Install them: pip uninstall"
    )
    with (
        pytest.warns(UserWarning, match=backend.provider),
        pytest.raises(BackendError, match=message) as caught,
    ):
        opened(backend.name, tiny_bundle, manifest=manifest)
    assert type(caught.value) is error


@pytest.mark.parametrize(("gpus", "error"), [(0, HardwareMissingError), (1, BackendError)])
@pytest.mark.parametrize("streams", [1, 2])
def test_a_missing_gpu_is_told_from_a_bad_model(
    gpu, monkeypatch, tiny_bundle, tmp_path, caplog, gpus, error, streams
):
    monkeypatch.setattr(onnxruntime_cuda, "_gpu_count", lambda: gpus)
    model, manifest = tmp_path / "model.onnx", read_manifest(tiny_bundle)
    model.write_bytes(b"no model at all")
    file = replace(manifest.files["model.onnx"], sha256=sha256_of(model))
    manifest = replace(manifest, files={"model.onnx": file})
    with pytest.raises(BackendError, match=r"onnxruntime [\d.]+ cannot load") as caught:
        opened("onnxruntime-cuda", tmp_path, manifest=manifest, streams=streams)
    assert type(caught.value) is error
    assert caplog.messages == []  # graphs have nothing to do with it


@pytest.mark.parametrize("backend", ALL, ids=lambda backend: backend.name)
def test_the_provider_is_not_in_the_package(monkeypatch, tiny_bundle, backend):
    monkeypatch.setattr(
        onnxruntime,
        "get_available_providers",
        lambda: ["XExecutionProvider", "CPUExecutionProvider"],
    )
    message = (
        rf"backend {backend.name} needs {backend.provider}; the installed onnxruntime [\d.]+ has "
        r"XExecutionProvider, CPUExecutionProvider\. Install it: "
        r"pip uninstall -y onnxruntime onnxruntime-gpu && pip install \S*onnxruntime-(gpu|trt-rtx)"
    )
    with pytest.raises(BackendNotInstalledError, match=message):
        opened(backend.name, tiny_bundle)


@pytest.mark.parametrize("backend", ALL, ids=lambda backend: backend.name)
def test_one_graph_is_wanted(gpu, tiny_split_bundle, backend):
    message = (
        rf"backend {backend.name} needs model\.onnx; .* holds features\.onnx, match\.onnx\. .*"
        r"--targets onnxruntime .*-o "
    )
    with pytest.raises(BackendError, match=message):
        opened(backend.name, tiny_split_bundle)
