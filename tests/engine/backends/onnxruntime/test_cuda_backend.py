"""ONNX Runtime's CUDA provider: its options, and the errors when it cannot be used."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest

import engine
from engine.backends.onnxruntime import cuda_backend
from engine.bundle.manifest import read_manifest
from engine.bundle.shipped import DEFAULT_BUNDLE
from engine.data.sources import motorcycle
from engine.errors import BackendError, BackendNotInstalledError, BundleError, HardwareMissingError
from engine.system.files import sha256_of
from tests.support.onnxruntime_double import opened

HAS_CUDA = "CUDAExecutionProvider" in onnxruntime.get_available_providers()


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_CUDA, reason="needs onnxruntime-gpu and an NVIDIA GPU")
@pytest.mark.parametrize("streams", [1, 2])
def test_runs_on_a_gpu(tiny_bundle, tiny_flow, pair_of, caplog, streams):
    backend = opened(tiny_bundle, streams=streams)
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
@pytest.mark.skipif(not HAS_CUDA, reason="needs onnxruntime-gpu and an NVIDIA GPU")
def test_the_default_network_runs_as_a_cuda_graph(caplog):
    pair = motorcycle()
    one, two = (image[:384, :512] for image in (pair.image1, pair.image2))
    with engine.load(DEFAULT_BUNDLE, backend="onnxruntime") as on_cpu:
        expected = [on_cpu.infer(one, two), on_cpu.infer(two, one)]
    with engine.load(DEFAULT_BUNDLE, backend="onnxruntime-cuda") as on_gpu:
        found = [on_gpu.infer(*images) for images in [(one, two), (two, one)] * 2]
    assert caplog.messages == []  # it warns where ONNX Runtime refuses a graph
    for flow, other in zip(found, expected * 2, strict=True):
        assert np.abs(flow - other).mean() < 0.1  # TF32 has ten bits of mantissa


@pytest.mark.parametrize(("precision", "tf32"), [("fp32", 0), ("fp16", 1), ("int8", 1)])
def test_options(gpu, tiny_bundle, precision, tf32):
    manifest = replace(read_manifest(tiny_bundle), precision=precision)
    opened(tiny_bundle, manifest=manifest, device=3).close()
    (session,) = gpu.sessions
    assert session.provider == "CUDAExecutionProvider"
    assert session.options == {"device_id": 3, "use_tf32": tf32, "enable_cuda_graph": True}
    entry = session.settings.get_session_config_entry
    assert entry("session.disable_quant_qdq") == "1"  # int8 is computed in float


@pytest.mark.skipif(HAS_CUDA, reason="this machine has CUDA")
@pytest.mark.parametrize("streams", [1, 2])
def test_never_falls_back_to_the_cpu(monkeypatch, tiny_bundle, capfd, caplog, streams):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with (
        pytest.warns(UserWarning, match="CUDAExecutionProvider") as warned,
        pytest.raises(
            HardwareMissingError, match=r"cannot use CUDAExecutionProvider here and offers CPU"
        ),
    ):
        opened(tiny_bundle, streams=streams)
    assert "Falling back" not in capfd.readouterr().out
    assert len(warned) == 1  # it does not try again without graphs
    assert caplog.messages == []


@pytest.mark.parametrize(("gpus", "error"), [(0, HardwareMissingError), (1, BackendError)])
@pytest.mark.parametrize("streams", [1, 2])
def test_distinguishes_a_missing_gpu_from_a_defective_model(
    gpu, monkeypatch, tiny_bundle, tmp_path, caplog, gpus, error, streams
):
    monkeypatch.setattr(cuda_backend, "_gpu_count", lambda: gpus)
    model, manifest = tmp_path / "model.onnx", read_manifest(tiny_bundle)
    model.write_bytes(b"\x3a\x00")  # ONNX with an empty graph
    file = replace(manifest.files["model.onnx"], sha256=sha256_of(model))
    manifest = replace(manifest, files={"model.onnx": file})
    with pytest.raises(BackendError, match=r"onnxruntime [\d.]+ cannot load") as caught:
        opened(tmp_path, manifest=manifest, streams=streams)
    assert type(caught.value) is error
    assert caplog.messages == []  # it does not blame CUDA graphs


def test_the_package_lacks_the_provider(monkeypatch, tiny_bundle):
    monkeypatch.setattr(
        onnxruntime,
        "get_available_providers",
        lambda: ["XExecutionProvider", "CPUExecutionProvider"],
    )
    message = (
        r"backend onnxruntime-cuda needs CUDAExecutionProvider; the installed onnxruntime [\d.]+ "
        r"has XExecutionProvider, CPUExecutionProvider\. Install it: "
        r"pip uninstall -y onnxruntime onnxruntime-gpu && pip install \S*onnxruntime-gpu"
    )
    with pytest.raises(BackendNotInstalledError, match=message):
        opened(tiny_bundle)


def test_a_split_bundle_lacks_the_whole_graph(gpu, tiny_split_bundle):
    message = (
        r"backend onnxruntime-cuda needs model\.onnx; .* contains features\.onnx, match\.onnx\. .*"
        r"--targets onnxruntime .*-o "
    )
    with pytest.raises(BackendError, match=message):
        opened(tiny_split_bundle)


def test_the_file_changes_between_check_and_open(gpu, tiny_bundle):
    manifest = read_manifest(tiny_bundle)
    changed = replace(manifest.files["model.onnx"], sha256="0" * 64)
    manifest = replace(manifest, files={"model.onnx": changed})
    with pytest.raises(BundleError, match="was changed while it was being opened"):
        opened(tiny_bundle, manifest=manifest)
    assert not gpu.sessions


@pytest.mark.parametrize(
    ("precision", "arithmetic"),
    [("fp32", "fp32"), ("fp16", "fp16"), ("int8", "float32: no int8 on a GPU")],
)
def test_what_it_computes_in(gpu, tiny_bundle, precision, arithmetic):
    manifest = replace(read_manifest(tiny_bundle), precision=precision)
    assert opened(tiny_bundle, manifest=manifest).arithmetic == arithmetic
