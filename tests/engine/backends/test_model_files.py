"""Model files that are missing, changed or defective."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.backends.registry import open_backend
from engine.bundle.manifest import read_manifest
from engine.errors import BackendError, BundleError
from engine.system.files import sha256_of

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


@pytest.mark.parametrize("keep_half", [True, False])
def test_the_file_is_not_a_model(name, bundle, keep_half):
    model, manifest = bundle / "model.onnx", read_manifest(bundle)
    content = model.read_bytes()
    model.write_bytes(content[: len(content) // 2] if keep_half else b"not a model")
    file = replace(manifest.files["model.onnx"], sha256=sha256_of(model))
    manifest = replace(manifest, files={"model.onnx": file})
    with pytest.raises(BackendError, match=rf"{name} [\d.]+ cannot load .*model\.onnx: "):
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
