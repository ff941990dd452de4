"""Checking a bundle's files against its manifest."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from engine.bundle.advice import rebuild_command
from engine.bundle.manifest import read_manifest
from engine.bundle.verify import verify_files
from engine.errors import BundleError
from engine.system.files import sha256_of


@pytest.fixture
def bundle(tmp_path, tiny_bundle) -> Path:
    """A copy of the tiny bundle, to be damaged."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def test_intact_files(bundle):
    verify_files(bundle, read_manifest(bundle))


def test_missing_file(bundle):
    (bundle / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx is missing; .* -m export\.build_engine"):
        verify_files(bundle, read_manifest(bundle))
    verify_files(bundle, read_manifest(bundle), names=())


def test_truncated_file(bundle):
    model = bundle / "model.onnx"
    size = model.stat().st_size
    model.write_bytes(model.read_bytes()[:-1])
    message = f"has {size - 1} bytes; the manifest says {size}: truncated. Rebuild it with"
    with pytest.raises(BundleError, match=message):
        verify_files(bundle, read_manifest(bundle))


def test_changed_file(bundle):
    model = bundle / "model.onnx"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    message = f"has SHA-256 {sha256_of(model)}; the manifest says .*: changed. Rebuild it with"
    with pytest.raises(BundleError, match=message):
        verify_files(bundle, read_manifest(bundle))


def test_a_damaged_bundle_inside_the_package_is_not_rebuilt_there(bundle, monkeypatch):
    monkeypatch.setattr("engine.bundle.advice._PACKAGE", bundle.parent)
    advice = r"It is part of flownet-engine: reinstall that\.$"
    manifest = read_manifest(bundle)
    (bundle / "model.onnx").unlink()
    with pytest.raises(BundleError, match=rf"model\.onnx is missing; .*\. {advice}"):
        verify_files(bundle, manifest)
    for damaged in ("{}", "{"):
        (bundle / "manifest.json").write_text(damaged)
        with pytest.raises(BundleError, match=advice):
            read_manifest(bundle)
    assert rebuild_command(bundle, manifest).endswith(" -o DIR")


def test_the_advice_is_of_the_damaged_file(bundle):
    (bundle / "model.plan").write_bytes(b"plan")
    manifest = read_manifest(bundle)
    onnx = manifest.files["model.onnx"]
    manifest.files["model.plan"] = replace(onnx, role="plan", bytes=5)
    with pytest.raises(
        BundleError, match=rf"model\.plan has 4 bytes.* -m export.rebuild {bundle}`\.$"
    ):
        verify_files(bundle, manifest)
    (bundle / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx is missing; .*--network tiny .*`\.$"):
        verify_files(bundle, manifest)


def test_sha256_of_known_text(tmp_path):
    # FIPS 180-2, appendix B.1.
    (tmp_path / "abc").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(tmp_path / "abc") == expected
