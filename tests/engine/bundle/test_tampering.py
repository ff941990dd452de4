"""Any change of a bundle's files is an error of this package, or changes nothing."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine.bundle.manifest import read_manifest
from engine.errors import BundleError

IMAGES = np.zeros((2, 64, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("changed") / "bundle"))


def refused_or_the_same(changed: Path, original: Path) -> bool:
    """Open a changed bundle; return whether it opened."""
    try:
        with engine.load(changed, backend="onnxruntime", threads=1) as opened:
            manifest, flow = opened.manifest, opened.infer(*IMAGES)
    except BundleError:
        return False
    assert manifest == read_manifest(original)
    with engine.load(original, backend="onnxruntime", threads=1) as opened:
        np.testing.assert_array_equal(flow, opened.infer(*IMAGES))
    return True


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """The paths of all values in a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, inner in items:
        yield from places(inner, (*path, key))


def others(value: Any) -> list[Any]:
    """Values near another one, of its type and of other types."""
    near = {
        bool: [not value],
        int: [0, 1, -1, value + 1, float(value)] if isinstance(value, int) else [],
        float: [0.0, value * 2, int(value)] if isinstance(value, float) else [],
        str: ["", f"{value} ", f"{value}x"],
    }
    return [
        other for other in [None, [], {}, *near.get(type(value), [])] if repr(other) != repr(value)
    ]


def test_every_field_of_the_manifest(bundle, tiny_bundle):
    """Changed, removed, or with a field beside it."""
    path = bundle / "manifest.json"
    original = json.loads(path.read_text())
    opened = []

    def attempt(content: Any, place: Any) -> None:
        path.write_text(json.dumps(content))
        if refused_or_the_same(bundle, tiny_bundle):
            opened.append(place)

    for place in places(original):
        if not place:
            continue
        *parents, last = place
        for other in others(value_at(original, place)):
            content = json.loads(json.dumps(original))
            value_at(content, parents)[last] = other
            attempt(content, place)
        content = json.loads(json.dumps(original))
        del value_at(content, parents)[last]
        attempt(content, place)
        if isinstance(value_at(original, place), dict):
            content = json.loads(json.dumps(original))
            value_at(content, place)["another"] = 1
            attempt(content, place)
    # Manifests of older versions have no sha256.
    assert opened == [("sha256",)]


def value_at(content: Any, place: Any) -> Any:
    for key in place:
        content = content[key]
    return content


@given(data=st.data())
def test_bytes_of_the_manifest(bundle, tiny_bundle, data):
    original = (tiny_bundle / "manifest.json").read_bytes()
    at = data.draw(st.integers(0, len(original) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "insert", "delete"]))
    byte = data.draw(st.binary(min_size=1, max_size=1))
    changed = {
        "flip": original[:at] + byte + original[at + 1 :],
        "cut": original[:at],
        "insert": original[:at] + byte + original[at:],
        "delete": original[:at] + original[at + 1 :],
    }[kind]
    (bundle / "manifest.json").write_bytes(changed)
    refused_or_the_same(bundle, tiny_bundle)


def test_every_byte_of_the_model(bundle, tiny_bundle):
    shutil.copy(tiny_bundle / "manifest.json", bundle)
    original = (tiny_bundle / "model.onnx").read_bytes()
    for at in range(0, len(original), 7):
        changed = bytearray(original)
        changed[at] ^= 1 << at % 8
        (bundle / "model.onnx").write_bytes(changed)
        assert not refused_or_the_same(bundle, tiny_bundle)
    for content in (b"", original[:-1], original + b"\0"):
        (bundle / "model.onnx").write_bytes(content)
        assert not refused_or_the_same(bundle, tiny_bundle)


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx"])
def test_what_is_no_file(tiny_bundle, tmp_path, name):
    for number, replace in enumerate((Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path))):
        bundle = Path(shutil.copytree(tiny_bundle, tmp_path / str(number)))
        (bundle / name).unlink()
        replace(bundle / name)
        assert not refused_or_the_same(bundle, tiny_bundle)
