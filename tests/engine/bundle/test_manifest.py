"""Reading and writing manifests of schema 2, and reading schema 1."""

import copy
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.bundle.manifest import (
    BundleFile,
    Gate,
    GateResult,
    Manifest,
    OperationCount,
    Parity,
    Preprocessing,
    SizeProfile,
    WeightsOrigin,
    read_manifest,
    write_manifest,
)
from engine.errors import BundleError

ONNX = BundleFile(role="network", precision="int8", bytes=3, sha256="a" * 64, tool="torch 2.13.0")
FP32 = replace(ONNX, precision="fp32", sha256="d" * 64)
PLAN = replace(ONNX, role="plan", tool="tensorrt 11.4.0", compute_capability="9.0")
MANIFEST = Manifest(
    network="flownets_slim",
    precision="int8",
    parameters=5_400_000,
    operations=OperationCount(4.5, 384, 512),
    preprocessing=Preprocessing("RGB", (0, 255), "fixed_mean", 20.0, "pixels"),
    layout="NHWC",
    divisor=64,
    profile=SizeProfile((1, 64, 64), (1, 384, 512), (4, 1088, 1920)),
    files={
        "model.onnx": ONNX,
        "model.plan": PLAN,
    },
    parity=(
        Parity("onnxruntime", "ok", None, 1e-4, 2e-3, 0.0, "chairs"),
        Parity("tensorrt", "not run", "no GPU", None, None, None, "chairs"),
    ),
    gate=Gate(
        max_epe_increase=0.01,
        calibration="synthetic, 32 pairs",
        in_float=("conv1", "predict_flow2"),
        results=(GateResult("onnxruntime", "motorcycle, 4 pairs", 7.5, 7.51, 0.03, 0.2, 0.9),),
    ),
    weights=WeightsOrigin("c" * 64, "trained here", "MIT", {"chairs": 2.5}, {"color": "RGB (x)"}),
)


@pytest.fixture
def content(tmp_path: Path) -> dict[str, Any]:
    """The JSON of a valid manifest, to be damaged."""
    write_manifest(tmp_path, MANIFEST)
    return json.loads((tmp_path / "manifest.json").read_text())


def read_changed(bundle: Path, content: Any) -> Manifest:
    (bundle / "manifest.json").write_text(json.dumps(content))
    return read_manifest(bundle)


def changed(content: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    *parents, last = path.split("/")
    result = copy.deepcopy(content)
    place: Any = result
    for key in parents:
        place = place[int(key) if isinstance(place, list) else key]
    place[int(last) if isinstance(place, list) else last] = value
    return result


def test_what_is_written_is_read(tmp_path):
    write_manifest(tmp_path, MANIFEST)
    assert read_manifest(tmp_path) == MANIFEST
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_layout_on_disk(content):
    assert content["schema"] == 2
    assert content["operations"] == {"gflop": 4.5, "height": 384, "width": 512}
    assert content["preprocessing"]["value_range"] == [0, 255]
    assert content["files"]["model.onnx"]["role"] == "network"
    assert content["profile"]["max"] == [4, 1088, 1920]
    assert content["files"]["model.plan"]["compute_capability"] == "9.0"
    assert content["parity"][1]["reason"] == "no GPU"
    assert content["gate"]["in_float"] == ["conv1", "predict_flow2"]
    assert content["gate"]["results"][0]["epe_before"] == 7.5


def test_other_precisions_have_no_gate(tmp_path):
    ungated = replace(MANIFEST, files={"model.onnx": FP32}, precision="fp32", gate=None)
    write_manifest(tmp_path, ungated)
    assert json.loads((tmp_path / "manifest.json").read_text())["gate"] is None
    assert read_manifest(tmp_path) == ungated


def test_several_files_of_one_role(tmp_path):
    """As for CPUs with and without fast int8."""
    files = {"model.onnx": ONNX, "model-fp32.onnx": FP32, "model.plan": PLAN}
    write_manifest(tmp_path, replace(MANIFEST, files=files))
    manifest = read_manifest(tmp_path)
    assert manifest.names("network") == ["model.onnx", "model-fp32.onnx"]
    assert manifest.names("network", "fp32") == ["model-fp32.onnx"]
    assert manifest.names("plan") == ["model.plan"]
    assert manifest.names("plugin") == []


def test_contradictions_are_not_written(tmp_path):
    with pytest.raises(BundleError, match=r"files is empty; expected .* Nothing was written\."):
        write_manifest(tmp_path, replace(MANIFEST, files={}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("schema", 3, r"schema is 3; this version reads schemas 1 and 2"),
        ("schema", "1", r"schema is '1'; this version reads schemas 1 and 2"),
        ("schema", True, r"schema is True; this version reads schemas 1 and 2"),
        ("schema", 2.0, r"schema is 2\.0; expected an integer"),
        ("parameters", 0, r"parameters is 0; expected at least 1"),
        ("operations/gflop", -1.0, r"operations is .*gflop=-1\.0.*; expected positive numbers"),
        ("operations/gflops", 1.0, r"unknown key 'gflops' in operations\. Did you mean 'gflop'"),
        ("preprocessing/color_order", "BGR", r"color_order is 'BGR'; expected one of \['RGB'\]"),
        ("files/model.onnx/role", "net", r"role is 'net'; expected one of \['network',"),
        ("files/model.onnx/precision", None, r"precision is None; expected a precision for each"),
        ("files/model.onnx/precision", "int4", r"is 'int4'; expected one of .* mean 'int8'"),
        ("network", 5, r"network is 5; expected a string"),
        ("precision", "fp-16", r"is 'fp-16'; expected one of .* Did you mean 'fp16'\? Rebuild"),
        ("precision", ["fp16"], r"precision is \['fp16'\]; expected one of"),
        ("layout", "NCHW", r"layout is 'NCHW'; expected one of \['NHWC'\]"),
        ("divisor", 0, r"divisor is 0; expected 1 to 1024"),
        ("divisor", 64.0, r"divisor is 64\.0; expected an integer"),
        ("divisor", True, r"divisor is True; expected an integer"),
        ("profile", None, r"profile is None; expected an object"),
        ("profile/max", [1088, 1920], r"profile\.max has 2 items; expected 3"),
        ("profile/max", "abc", r"profile\.max is 'abc'; expected a list"),
        ("profile/max/1", "a", r"profile\.max\[1\] is 'a'; expected an integer"),
        ("profile/max", [1, 64, 64], r"expected 1 <= min <= opt <= max"),
        ("profile/min", [0, 64, 64], r"expected 1 <= min <= opt <= max"),
        ("profile/opt", [1, 384, 500], r"profile has 384x500; expected multiples of 64"),
        ("files", [], r"files is \[\]; expected an object"),
        ("files", {}, r"files is empty"),
        ("files/model.onnx/bytes", -1, r"files\.model\.onnx\.bytes is -1; expected at least 1"),
        ("files/model.onnx/sha256", "A" * 64, r"files\.model\.onnx\.sha256 .* lower-case"),
        ("files/model.onnx/tool", None, r"files\.model\.onnx\.tool is None; expected a string"),
        ("files/model.plan/compute_capability", 9, r"compute_capability is 9; expected a string"),
        ("parity/0/status", "fine", r"parity\[0\]\.status is 'fine'; expected one of"),
        ("parity/0/mean_px", "0.1", r"parity\[0\]\.mean_px is '0\.1'; expected a finite number"),
        ("parity/0/mean_px", 10**400, r"expected a finite number"),
        ("gate", [], r"gate is \[\]; expected an object"),
        (
            "gate/max_epe_increase",
            "1%",
            r"max_epe_increase is '1%'; expected a finite number",
        ),
        ("gate/in_float", "conv1", r"gate\.in_float is 'conv1'; expected a list"),
        ("gate/in_float/1", 2, r"gate\.in_float\[1\] is 2; expected a string"),
        ("gate/results/0/epe", None, r"gate\.results\[0\]\.epe is None; expected a finite number"),
        ("gate/results/0/fl", 1, r"unknown key 'fl' in gate\.results\[0\]"),
        ("weights/epe/chairs", None, r"weights\.epe\.chairs is None; expected a finite number"),
        ("weights/sha256", "", r"weights\.sha256 is ''; expected 64"),
        ("files/model.onnx/size", 3, r"unknown key 'size' in files\.model\.onnx"),
        ("divisor", 2**20, r"divisor is 1048576; expected 1 to 1024"),
        ("smallest", 10**30, r"smallest is 10+; expected an integer of 64 bits"),
        ("smallest", 2**40, r"smallest is 1099511627776; expected 1 to 1024"),
        ("network", "a; rm -rf b", r"network is 'a; rm -rf b'; expected a name of ASCII letters"),
        ("network", "\x1b[2J", r"network is '\\x1b\[2J'; expected printable characters"),
        ("weights/source", "\ud800", r"weights\.source is '\\ud800'; expected printable"),
        ("weights/licence", "\u202egnp", r"weights\.licence is '\\u202egnp'; expected printable"),
        (
            "weights/source",
            "a" * 20_000,
            r"is 'aaa.*\.\.\..*'; expected printable .* at most 10000",
        ),
        ("weights/epe", {"\x07": 1.0}, r"a key of weights\.epe is '\\x07'; expected printable"),
        ("precision", "fp32", r"gate belongs to int8; precision is 'fp32'"),
        ("gate", None, r"do not have the SHA-256 '.*' that it states: it was changed after the b"),
        ("divisor", 32, r"do not have the SHA-256"),
        ("preprocessing/flow_scale", 21.0, r"do not have the SHA-256"),
        ("sha256", None, r"do not have the SHA-256 None"),
        ("divisors", 64, r"unknown key 'divisors'\. Rebuild|Did you mean 'divisor'"),
    ],
)
def test_wrong_values(tmp_path, content, path, value, message):
    with pytest.raises(BundleError, match=message):
        read_changed(tmp_path, changed(content, path, value))


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "a/b", "a\\b", "", ".", "..", ".hidden", "manifest.json", "a\n"]
)
def test_file_names_stay_in_the_folder(tmp_path, content, name):
    content["files"][name] = content["files"]["model.onnx"]
    message = "expected a plain file name beside the manifest|expected printable characters"
    with pytest.raises(BundleError, match=message):
        read_changed(tmp_path, content)


@pytest.mark.parametrize("key", ["schema", "network", "files", "gate", "weights", "operations"])
def test_missing_keys(tmp_path, content, key):
    del content[key]
    with pytest.raises(BundleError, match=f"manifest.json: missing key '{key}'"):
        read_changed(tmp_path, content)


def test_missing_keys_further_in(tmp_path, content):
    del content["parity"][1]["reason"]
    with pytest.raises(BundleError, match=r"missing key 'reason' in parity\[1\]"):
        read_changed(tmp_path, content)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is not valid JSON"),
        (b"{", "is not valid JSON"),
        (b"\xff\xfe", "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (b'{"schema":' * 100_000 + b"2" + b"}" * 100_000, "is not valid JSON"),
        (b" " * ((1 << 22) + 1), "has over 4 MiB; it is no manifest"),
        (b"9" * 5000, "is not valid JSON"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": 1, "a": 2}', "a key appears twice"),
        (b"[]", r"the manifest is \[\]; expected an object"),
        (b"null", "the manifest is None; expected an object"),
    ],
)
def test_malformed_text(tmp_path, text, message):
    (tmp_path / "manifest.json").write_bytes(text)
    with pytest.raises(BundleError, match=message):
        read_manifest(tmp_path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


PLACES = [
    *("schema", "network", "divisor", "profile", "profile/min", "files", "files/model.onnx"),
    *("parity", "parity/0", "gate", "gate/in_float", "gate/results/0"),
    *("weights", "weights/epe", "weights/epe/chairs", "extra"),
]


@given(
    path=st.sampled_from(PLACES),
    value=json_values,
)
def test_any_value_anywhere_is_read_or_refused(tmp_path_factory, path, value):
    bundle = tmp_path_factory.mktemp("bundle")
    write_manifest(bundle, MANIFEST)
    content = json.loads((bundle / "manifest.json").read_text())
    try:
        manifest = read_changed(bundle, changed(content, path, value))
    except BundleError:
        return
    assert isinstance(manifest, Manifest)


def test_the_sha256_is_of_the_other_fields(content):
    """As anyone can compute it."""
    written = content.pop("sha256")
    text = json.dumps(content, separators=(",", ":"))
    assert written == hashlib.sha256(text.encode()).hexdigest()


def test_manifests_of_older_versions_have_no_sha256(tmp_path, content):
    del content["sha256"]
    assert read_changed(tmp_path, content) == MANIFEST


def test_a_precision_that_no_file_has(tmp_path):
    for precision in ("fp32", "fp16"):
        manifest = replace(MANIFEST, precision=precision, gate=None)
        with pytest.raises(BundleError, match=f"precision is '{precision}'; no file of the bundle"):
            write_manifest(tmp_path, manifest)


def test_text_is_written_so_that_no_terminal_is_steered(tmp_path):
    origin = replace(MANIFEST.weights, source="\x1b[2Ja\nb é \udcff")
    write_manifest(tmp_path, replace(MANIFEST, weights=origin))
    assert read_manifest(tmp_path).weights.source == r"\x1b[2Ja\nb é \udcff"


def test_messages_about_huge_texts_are_short(tmp_path, content):
    """Of keys and values that are megabytes long."""
    long = "k" * (1 << 20)
    for damaged in (
        {**content, long: 1},
        {**content, "network": long},
        {**content, "schema": long},
        {**content, "sha256": long},
        {**content, "files": {long: content["files"]["model.onnx"]}},
        changed(content, "weights/epe", {long: None}),
    ):
        with pytest.raises(BundleError) as caught:
            read_changed(tmp_path, damaged)
        assert len(str(caught.value)) < 1000


def test_no_bundle(tmp_path):
    with pytest.raises(
        BundleError, match=r"is not a bundle: File name too long; expected a folder"
    ):
        read_manifest(tmp_path / ("x" * 300))

    with pytest.raises(BundleError, match=r"is not a bundle: it is not a folder; expected"):
        read_manifest(tmp_path / "missing")
    with pytest.raises(BundleError, match=r"is not a bundle: it has no manifest\.json; expected"):
        read_manifest(tmp_path)


def test_operations_scale_with_the_pixels():
    assert OperationCount(4.5, 384, 512).gflop_at(768, 1024) == 18.0


# The manifest of the default bundle of version 0.1, before schema 2.
SCHEMA1 = Path(__file__).with_name("schema1.json")


@pytest.fixture
def old() -> dict[str, Any]:
    return json.loads(SCHEMA1.read_text())


def test_schema_1_is_read(tmp_path, old):
    manifest = read_changed(tmp_path, old)
    assert manifest.schema == 2
    assert (manifest.network, manifest.precision) == ("flownets_pyramid_slim", "int8")
    assert (manifest.parameters, manifest.operations, manifest.preprocessing) == (None, None, None)
    assert manifest.profile.max == (4, 1088, 1920)
    assert manifest.gate is not None
    assert manifest.gate.results[1].epe == 2.5831333279860473
    assert manifest.files == {
        "model.onnx": BundleFile(
            role="network",
            precision="int8",
            bytes=2114990,
            sha256="ad9ad39538ae2b0751ca77e810fdcc89f2ded9e82808f4e70ebd07fb3b1ed4be",
            tool="torch 2.13.0+cpu",
        )
    }
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("model.onnx", "network"), ("features.onnx", "features"), ("match.onnx", "match"),
        ("model.plan", "plan"), ("model.rtx", "plan"), ("libflow_plugin.so", "plugin"),
    ],
)  # fmt: skip
def test_schema_1_implies_roles_by_file_name(tmp_path, old, name, role):
    old["files"] = {name: old["files"]["model.onnx"]}
    file = read_changed(tmp_path, old).files[name]
    assert (file.role, file.precision) == (role, None if role == "plugin" else "int8")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("operations", None, r"unknown key 'operations'\."),
        ("files/model.onnx/role", "network", r"unknown key 'role' in files\.model\.onnx"),
        ("layout", "NCHW", r"layout is 'NCHW'; expected one of \['NHWC'\]"),
        ("profile/min", [0, 64, 64], r"expected 1 <= min <= opt <= max"),
    ],
)
def test_schema_1_is_as_strict(tmp_path, old, path, value, message):
    with pytest.raises(BundleError, match=message):
        read_changed(tmp_path, changed(old, path, value))
    del old["weights"]
    with pytest.raises(BundleError, match="missing key 'weights'"):
        read_changed(tmp_path, old)
