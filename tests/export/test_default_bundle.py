"""The bundle inside the package is built from the weights that the project ships."""

import onnx

from engine.bundle.manifest import read_manifest
from engine.bundle.verify import verify_files
from engine.loader import DEFAULT_BUNDLE
from engine.system.files import sha256_of
from training.weights import shipped_weights


def test_default_bundle_belongs_to_the_shipped_weights() -> None:
    manifest = read_manifest(DEFAULT_BUNDLE)
    verify_files(DEFAULT_BUNDLE, manifest)
    expected = sha256_of(shipped_weights(manifest.network))
    assert manifest.weights.sha256 == expected
    properties = onnx.load(DEFAULT_BUNDLE / "model.onnx").metadata_props
    assert {item.key: item.value for item in properties}["weights_sha256"] == expected
