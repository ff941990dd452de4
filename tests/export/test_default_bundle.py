"""The bundles inside the package are built from the weights that the project ships."""

from pathlib import Path

import onnx
import pytest

from engine.bundle.manifest import read_manifest
from engine.bundle.shipped import ACCURATE_BUNDLE, DEFAULT_BUNDLE
from engine.bundle.verify import verify_files
from engine.system.files import sha256_of
from training.weights import shipped_weights


@pytest.mark.parametrize("bundle", [DEFAULT_BUNDLE, ACCURATE_BUNDLE])
def test_a_bundle_belongs_to_the_shipped_weights(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    verify_files(bundle, manifest)
    expected = sha256_of(shipped_weights(manifest.network))
    assert manifest.weights.sha256 == expected
    properties = onnx.load(bundle / "model.onnx").metadata_props
    assert {item.key: item.value for item in properties}["weights_sha256"] == expected
