"""The C library's checks of bundles: Python's verdict on the same bundle, in the same words."""

import copy
import hashlib
import json
import locale
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

import engine
from engine.backends.model_files import read_onnx
from engine.bundle.manifest import _DIGEST, _digest, read_manifest, write_manifest
from engine.bundle.shipped import DEFAULT_BUNDLE
from engine.bundle.verify import verify_files
from engine.errors import BackendError, BundleError
from tests.engine.bundle.test_manifest import MANIFEST
from tests.support.c_library import Library
from tests.support.tiny_network import manifest_for, tiny_model

SCHEMA1 = Path("tests/engine/bundle/schema1.json")
# Of characters that Unicode has not assigned, Python and the C library may differ.
ASSIGNED = st.characters(exclude_categories=["Cn"])
WORD, LONG = st.text(ASSIGNED, max_size=5), st.text(ASSIGNED, max_size=40)
SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | LONG
KNOWN = st.sampled_from(
    ["int8", "fp64", "plan", "NHWC", "NCHW", "variational", 0, 1, 64, 63, 2000, 2.0]
)
NAMES = WORD | st.sampled_from(["min", "iterations"])
VALUES = st.recursive(
    SCALARS | KNOWN,
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=6,
)
KEYS = WORD | st.sampled_from(["passes", "precison", "gate", "Files", "smalest", "refine"])


def python_error(bundle: Path) -> str | None:
    try:
        verify_files(bundle, read_manifest(bundle))
    except BundleError as error:
        return str(error)
    return None


def c_error(library: Library, bundle: Path) -> str | None:
    """Return the message about the bundle; None: it opens, or only its runtime refuses it."""
    try:
        library.open(bundle).close()
    except BackendError:
        return None
    except BundleError as error:
        return str(error)
    return None


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_bundle, tmp_path / "it's a bundle")


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each container inside a value with each of its keys."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])


@st.composite
def edited(draw: st.DrawFn, content: Any) -> Any:
    """A manifest with one field replaced, removed or added; its digest sometimes fits."""
    content = copy.deepcopy(content)
    container, key = draw(st.sampled_from(list(places(content))))
    action = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
    if action == "replace":
        container[key] = draw(VALUES)
    elif action == "remove":
        del container[key]
    elif isinstance(container, dict):
        container[draw(KEYS)] = draw(VALUES)
    if draw(st.booleans()) and isinstance(content, dict):
        content[_DIGEST] = _digest({k: v for k, v in content.items() if k != _DIGEST})
    return content


def plain(content: Any) -> Any:
    return json.loads(json.dumps(content))


FULL = plain(asdict(MANIFEST))
DEFAULT = json.loads((DEFAULT_BUNDLE / "manifest.json").read_text())
OLD = json.loads(SCHEMA1.read_text())


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([FULL, DEFAULT, OLD]).flatmap(edited))
@example({**FULL, "precision": "fp64"})
@example({**FULL, "passes": 0, "recurrence": {"iterations": 0, "lookup": "volume", "stride": 8}})
@example({**FULL, "network": "\u202e\x07'\"" + "x" * 50})
@example({**FULL, "schema": "\U000e00ff\U000e0100\U000e01ef\U000e01f0"})
@example({**FULL, "parameters": 10**50})
@example({**FULL, "refine": "other"})
@example({**FULL, "refine": "variatonal"})
@example({**FULL, "refine": "none"})
@example({**FULL, "refine": 3})
@example({**FULL, "refine": ["variational"]})
@example({**FULL, "refine": None})
@example({**FULL, "refine": "variational"})
@example({**OLD, "refine": "variational"})
@example({**FULL, "operations": {"gflop": -(2**53) - 1, "height": 384, "width": 512}})
@example({**FULL, "operations": {"gflop": -(10**400), "height": 384, "width": 512}})
@example({key: value for key, value in FULL.items() if key not in ("files", "gate", "layout")})
@example({**FULL, "a": 1, "b": 2, "c": 3, "passez": 4})
def test_edited_manifests(library: Library, bundle: Path, content: Any) -> None:
    (bundle / "manifest.json").write_text(json.dumps(content))
    assert c_error(library, bundle) == python_error(bundle)


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", '{"a": 1, "a": 2}', '{"a": NaN}', '{"a": -Infinity}', "{'a': 1}",
        '{"a" 1}', '{"a": 1 "b": 2}', '{"a": [1 2]}', '{"a": 1} x', '{"a": "\n"}', '{"a": "x',
        '{"a": "\\x"}', '{"a": "\\u12g4"}', '{"schema": 3}', '{"schema": "2"}', '{"schema": 2.0}',
        '{"a": 01}', '{"a": 1.}', '{"a": -}', "\ufeff{}", '{"schema": 1e400}', "tru",
    ],
)  # fmt: skip
def test_texts_that_are_no_manifest(library: Library, bundle: Path, text: str) -> None:
    (bundle / "manifest.json").write_text(text)
    expected = python_error(bundle)
    assert expected is not None
    assert c_error(library, bundle) == expected


@pytest.mark.parametrize("text", [b"\xff{}", b'{"a": "\xc3"}', b"[" * 100_000, b" " * (5 << 20)])
def test_bytes_that_are_no_manifest(library: Library, bundle: Path, text: bytes) -> None:
    (bundle / "manifest.json").write_bytes(text)
    with pytest.raises(BundleError, match=r"is not valid JSON: it is|over 4 MiB"):
        library.open(bundle)


def test_numbers_as_python_prints_them(library: Library, bundle: Path) -> None:
    # The manifest's SHA-256 is that of Python's spelling.
    numbers = [0.1, 1e16, 1e15, 123456789.125, 1e-5, 1.5e-4, 1e22, 5e-324, 1.7976931348623157e308]
    content = json.loads((bundle / "manifest.json").read_text())
    content["weights"]["epe"] = {str(number): number for number in [*numbers, -0.0, 7]}
    del content[_DIGEST]
    content[_DIGEST] = _digest(content)
    (bundle / "manifest.json").write_text(json.dumps(content, ensure_ascii=False))
    assert python_error(bundle) is None
    assert c_error(library, bundle) is None


@pytest.mark.parametrize("state", ["missing", "truncated", "longer", "changed", "a folder"])
def test_edited_files(library: Library, bundle: Path, state: str) -> None:
    model = bundle / "model.onnx"
    content = bytearray(model.read_bytes())
    content[100] ^= 1
    model.unlink()
    if state == "a folder":
        model.mkdir()
    elif state != "missing":
        sizes = {"truncated": content[:-1], "longer": content + b"x", "changed": content}
        model.write_bytes(sizes[state])
    expected = python_error(bundle)
    assert expected is not None
    assert c_error(library, bundle) == expected


def test_no_bundle(library: Library, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("", ".", "file", "nothing", "file/x", "a//b/./", "x" * 300):
        path = f"{tmp_path}/{name}"
        assert c_error(library, path) == python_error(Path(path)), name


def length_that_points_backwards() -> bytes:
    """A graph whose last field has a length that goes on after it, and is nearly 2**64."""
    length = 2**64 - 310
    groups = [length >> shift & 0x7F | 0x80 for shift in range(0, 70, 7)]
    groups[-1] &= 0x7F
    graph = b"\x3a\xad\x02" + b"\x12\xa8\x02" + b"x" * 296 + b"\x0a" + bytes(groups[:1])
    return graph + bytes(groups[1:]) + bytes(4)


@pytest.mark.parametrize(
    "content",
    [b"no model", b"\x00\x00\x00\x00ORTM", b"\x3a\x02\x08", length_that_points_backwards()],
)
def test_files_that_are_no_onnx(library: Library, bundle: Path, content: bytes) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    del manifest[_DIGEST]
    entry = manifest["files"]["model.onnx"]
    entry |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    (bundle / "model.onnx").write_bytes(content)
    with pytest.raises(BundleError) as expected:
        read_onnx(bundle / "model.onnx", None)
    assert c_error(library, bundle) == str(expected.value)


def test_a_resize_with_a_negative_scale(library: Library, tmp_path: Path) -> None:
    model = tiny_model()
    (scales,) = (tensor for tensor in model.graph.initializer if tensor.name == "scales")
    scales.CopyFrom(numpy_helper.from_array(np.array([1, 1, -64, 64], np.float32), "scales"))
    onnx.save(model, tmp_path / "model.onnx")
    write_manifest(tmp_path, manifest_for(tmp_path))
    with pytest.raises(BackendError, match="expected positive ones") as expected:
        engine.load(tmp_path, backend="openvino")
    with pytest.raises(BackendError) as found:
        library.open(tmp_path, backend=b"openvino")
    assert str(found.value) == str(expected.value)


@pytest.fixture
def decimal_comma(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A program in German."""
    if not Path("/usr/share/i18n/locales/de_DE").exists() or shutil.which("localedef") is None:
        pytest.skip("needs localedef and its source of de_DE (package locales)")
    command = ["localedef", "-i", "de_DE", "-f", "UTF-8", tmp_path / "de_DE.UTF-8"]
    subprocess.run(command, check=True)
    monkeypatch.setenv("LOCPATH", str(tmp_path))
    before = locale.setlocale(locale.LC_ALL)
    locale.setlocale(locale.LC_ALL, "de_DE.UTF-8")
    assert locale.localeconv()["decimal_point"] == ","
    yield
    locale.setlocale(locale.LC_ALL, before)


def test_a_program_with_decimal_commas(library: Library, bundle: Path, decimal_comma: None) -> None:
    content = json.loads((bundle / "manifest.json").read_text())
    content["weights"]["epe"] = {"pairs": 0.125}
    del content[_DIGEST]
    content[_DIGEST] = _digest(content)
    (bundle / "manifest.json").write_text(json.dumps(content))
    assert c_error(library, bundle) is None


def test_a_file_with_a_role_that_its_name_contradicts(library: Library, bundle: Path) -> None:
    content = json.loads((bundle / "manifest.json").read_text())
    del content[_DIGEST]
    content["files"]["model.onnx"]["role"] = "plan"
    (bundle / "manifest.json").write_text(json.dumps(content))
    engine.load(bundle, backend="openvino").close()
    library.open(bundle, backend=b"openvino").close()


def test_a_signed_bundle_opens(library: Library, bundle: Path) -> None:
    # As in Python without trust=: no signature is looked at.
    (bundle / "manifest.json.sig").write_bytes(b"no signature")
    assert c_error(library, bundle) is None
