"""Model files that are missing, changed or defective."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import external_data_helper

from engine.backends.registry import open_backend
from engine.bundle.manifest import read_manifest
from engine.errors import BackendError, BundleError
from engine.system.files import sha256_of
from tests.support.tiny_network import tiny_int8_model, tiny_model

CPU_BACKENDS = ["onnxruntime", "openvino"]


@pytest.fixture(params=CPU_BACKENDS)
def name(request):
    pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    return request.param


@pytest.fixture
def bundle(tiny_bundle, tmp_path):
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def opened(name, bundle, manifest):
    return open_backend(name, bundle, manifest, device=0, threads=1)


def test_the_bundle_lacks_the_file(name, bundle):
    manifest = read_manifest(bundle)
    manifest = replace(manifest, files={"model.plan": manifest.files["model.onnx"]})
    message = (
        rf"backend {name} needs model\.onnx; the bundle .* contains model\.plan\. Build one .* "
        rf"--precision fp32 --targets {name} .* -o "
    )
    with pytest.raises(BackendError, match=message):
        opened(name, bundle, manifest)


def opened_with(name, bundle, model):
    """Open a bundle whose model has this content, and whose manifest says so."""
    manifest = read_manifest(bundle)
    (bundle / "model.onnx").write_bytes(model)
    file = replace(manifest.files["model.onnx"], sha256=sha256_of(bundle / "model.onnx"))
    return opened(name, bundle, replace(manifest, files={"model.onnx": file}))


# An OpenVINO model, which OpenVINO recognises and would open.
IR = b'<?xml version="1.0"?><net name="net" version="11"><layers></layers><edges></edges></net>'


@pytest.mark.parametrize("model", [b"", b"not a model", IR, tiny_model().SerializeToString()[:400]])
def test_a_file_that_is_not_onnx_reaches_no_runtime(name, bundle, model):
    with pytest.raises(
        BundleError, match=r"model\.onnx is no valid ONNX: .* Build the bundle again"
    ):
        opened_with(name, bundle, model)


def test_a_model_that_no_runtime_reads(name, bundle):
    model = tiny_model()
    model.graph.node[5].op_type = "Unknown"
    with pytest.raises(BackendError, match=rf"{name} [\d.]+ cannot load .*model\.onnx: "):
        opened_with(name, bundle, model.SerializeToString())


def test_text_that_is_not_utf8(name, bundle):
    """OpenVINO's own error message is then none either."""
    model = tiny_model().SerializeToString().replace(b"Conv", b"C\xff\xfev")
    with pytest.raises(BackendError, match=rf"{name} [\d.]+ cannot load .*model\.onnx: "):
        opened_with(name, bundle, model)


def test_external_data_reaches_no_runtime(name, bundle, tmp_path):
    model = tiny_model()
    weights = model.graph.initializer[0]
    (tmp_path / "weights").write_bytes(weights.raw_data)
    external_data_helper.set_external_data(weights, str(tmp_path / "weights"))
    weights.ClearField("raw_data")
    with pytest.raises(BundleError, match=r"model\.onnx has external data: .* hashes do not cover"):
        opened_with(name, bundle, model.SerializeToString())


def test_int8_weights_that_the_manifest_does_not_mention(name, bundle):
    with pytest.raises(BundleError, match=r"has int8 weights; the manifest says fp32\. Build"):
        opened_with(name, bundle, tiny_int8_model(64).SerializeToString())


def test_a_file_that_cannot_be_read(name, bundle):
    manifest = read_manifest(bundle)
    (bundle / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx cannot be read: No such file"):
        opened(name, bundle, manifest)


def test_the_file_changes_between_check_and_open(name, bundle):
    manifest = read_manifest(bundle)
    (bundle / "model.onnx").write_bytes(b"another model")
    with pytest.raises(BundleError, match="was changed while it was being opened"):
        opened(name, bundle, manifest)


def test_the_file_changes_after_open(name, bundle, tiny_flow, rng):
    backend = opened(name, bundle, read_manifest(bundle))
    (bundle / "model.onnx").write_bytes(b"another model")
    for height in (64, 128, 192):  # OpenVINO compiles for each size
        pair = rng.integers(0, 256, (2, 1, height, 64, 3), dtype=np.uint8)
        np.testing.assert_allclose(backend.run(*pair), tiny_flow(*pair), atol=1e-5)
    backend.close()
