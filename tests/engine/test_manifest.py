import copy
import json
import shlex
import shutil
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
    Parity,
    SizeProfile,
    WeightsOrigin,
    read_manifest,
    rebuild_command,
    sha256_of,
    verify_files,
    write_manifest,
)
from engine.errors import BundleError

MANIFEST = Manifest(
    network="flownets_slim",
    precision="int8",
    layout="NHWC",
    divisor=64,
    profile=SizeProfile((1, 64, 64), (1, 384, 512), (4, 1088, 1920)),
    files={
        "model.onnx": BundleFile(3, "a" * 64, "torch 2.13.0", None),
        "model.plan": BundleFile(5, "b" * 64, "tensorrt 11.4.0", "9.0"),
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
    weights=WeightsOrigin("c" * 64, "trained here", "MIT", {"chairs": 2.5}),
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
    assert content["schema"] == 1
    assert content["profile"]["max"] == [4, 1088, 1920]
    assert content["files"]["model.plan"]["compute_capability"] == "9.0"
    assert content["parity"][1]["reason"] == "no GPU"
    assert content["gate"]["in_float"] == ["conv1", "predict_flow2"]
    assert content["gate"]["results"][0]["epe_before"] == 7.5


def test_other_precisions_have_no_gate(tmp_path):
    ungated = replace(MANIFEST, precision="fp32", gate=None)
    write_manifest(tmp_path, ungated)
    assert json.loads((tmp_path / "manifest.json").read_text())["gate"] is None
    assert read_manifest(tmp_path) == ungated


def test_nothing_is_written_when_it_makes_no_sense(tmp_path):
    with pytest.raises(BundleError, match=r"files is empty; expected .* Nothing was written\."):
        write_manifest(tmp_path, replace(MANIFEST, files={}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("schema", 2, r"schema is 2; this version reads schema 1"),
        ("schema", "1", r"schema is '1'; this version reads schema 1"),
        ("schema", True, r"schema is True; expected a whole number"),
        ("network", 5, r"network is 5; expected a text"),
        ("precision", "fp-16", r"is 'fp-16'; expected one of .* Did you mean 'fp16'\? Rebuild"),
        ("precision", ["fp16"], r"precision is \['fp16'\]; expected one of"),
        ("layout", "NCHW", r"layout is 'NCHW'; expected one of \['NHWC'\]"),
        ("divisor", 0, r"divisor is 0; expected at least 1"),
        ("divisor", 64.0, r"divisor is 64\.0; expected a whole number"),
        ("divisor", True, r"divisor is True; expected a whole number"),
        ("profile", None, r"profile is None; expected an object"),
        ("profile/max", [1088, 1920], r"profile\.max has 2 items; expected 3"),
        ("profile/max", "abc", r"profile\.max is 'abc'; expected a list"),
        ("profile/max/1", "a", r"profile\.max\[1\] is 'a'; expected a whole number"),
        ("profile/max", [1, 64, 64], r"expected 1 <= min <= opt <= max"),
        ("profile/min", [0, 64, 64], r"expected 1 <= min <= opt <= max"),
        ("profile/opt", [1, 384, 500], r"profile has 384x500; expected multiples of 64"),
        ("files", [], r"files is \[\]; expected an object"),
        ("files", {}, r"files is empty"),
        ("files/model.onnx/bytes", -1, r"files\.model\.onnx\.bytes is -1; expected at least 1"),
        ("files/model.onnx/sha256", "A" * 64, r"files\.model\.onnx\.sha256 .* lower-case"),
        ("files/model.onnx/tool", None, r"files\.model\.onnx\.tool is None; expected a text"),
        ("files/model.plan/compute_capability", 9, r"compute_capability is 9; expected a text"),
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
        ("gate/in_float/1", 2, r"gate\.in_float\[1\] is 2; expected a text"),
        ("gate/results/0/epe", None, r"gate\.results\[0\]\.epe is None; expected a finite number"),
        ("gate/results/0/fl", 1, r"unknown key 'fl' in gate\.results\[0\]"),
        ("weights/epe/chairs", None, r"weights\.epe\.chairs is None; expected a finite number"),
        ("weights/sha256", "", r"weights\.sha256 is ''; expected 64"),
        ("files/model.onnx/size", 3, r"unknown key 'size' in files\.model\.onnx"),
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
    with pytest.raises(BundleError, match="expected a plain file name beside the manifest"):
        read_changed(tmp_path, content)


@pytest.mark.parametrize("key", ["schema", "network", "files", "gate", "weights"])
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


def test_no_bundle(tmp_path):
    with pytest.raises(BundleError, match=r"is not a bundle: it is not a folder; expected"):
        read_manifest(tmp_path / "missing")
    with pytest.raises(BundleError, match=r"is not a bundle: it has no manifest\.json; expected"):
        read_manifest(tmp_path)


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
    monkeypatch.setattr("engine.bundle.manifest._PACKAGE", bundle.parent)
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


def test_a_bundle_of_two_graphs_is_rebuilt_as_one(tiny_split_bundle):
    manifest = read_manifest(tiny_split_bundle)
    command = rebuild_command(tiny_split_bundle, manifest, target="tensorrt")
    assert " --targets tensorrt --split " in command
    assert command.endswith(f" -o {tiny_split_bundle}")
    assert "--split" not in rebuild_command(tiny_split_bundle, manifest, whole=True)


PLAN = BundleFile(5, "b" * 64, "a tool", None)
FULL = (
    "python -m export.build_engine --network flownets_slim --weights FILE --precision int8 "
    "--max-epe-increase 1% --targets tensorrt "
)
SIZES = "--min-size 64x64 --size 384x512 --max-size 1088x1920 --max-batch 4 "


@pytest.mark.parametrize(
    ("names", "command"),
    [
        (["model.onnx", "model.plan"], "python -m export.build_engine --rebuild b"),
        (["model.onnx", "model.rtx"], "python -m export.build_engine --rebuild b"),
        (["model.onnx"], FULL + SIZES + "-o b"),
        (["model.plan"], FULL + SIZES + "-o b"),
        (["features.onnx", "match.onnx", "model.plan"], FULL + "--split " + SIZES + "-o b"),
        (["model.onnx", "model.plan", "libx.so"], FULL + "--correlation library " + SIZES + "-o b"),
    ],
)
def test_a_plan_alone_is_rebuilt_where_its_graph_is_there(names, command):
    manifest = replace(MANIFEST, files=dict.fromkeys(names, PLAN))
    assert rebuild_command(Path("b"), manifest, target="tensorrt") == command


def test_a_plan_alone_is_rebuilt_only_where_it_alone_is_wanted(monkeypatch, tmp_path):
    assert (
        rebuild_command(Path("b"), MANIFEST, target="tensorrt", whole=True) == FULL + SIZES + "-o b"
    )
    assert "--rebuild" not in rebuild_command(Path("b"), MANIFEST, target="openvino")
    assert "--rebuild" not in rebuild_command(Path("b"), MANIFEST)
    monkeypatch.setattr("engine.bundle.manifest._PACKAGE", tmp_path)
    # What ships inside the package has the weights that ship.
    command = (FULL + SIZES).replace("--weights FILE ", "") + "-o DIR"
    assert rebuild_command(tmp_path / "b", MANIFEST, target="tensorrt") == command


def test_a_folder_with_a_space_is_one_argument():
    bundle = Path("my bundles/b")
    assert shlex.split(rebuild_command(bundle, MANIFEST))[-1] == str(bundle)
    assert shlex.split(rebuild_command(bundle, MANIFEST, target="tensorrt"))[-1] == str(bundle)


def test_the_advice_is_of_the_damaged_file(bundle):
    (bundle / "model.plan").write_bytes(b"plan")
    manifest = read_manifest(bundle)
    manifest.files["model.plan"] = PLAN
    with pytest.raises(BundleError, match=rf"model\.plan has 4 bytes.* --rebuild {bundle}`\.$"):
        verify_files(bundle, manifest)
    (bundle / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"model\.onnx is missing; .*--network tiny .*`\.$"):
        verify_files(bundle, manifest)


def test_sha256_of_known_text(tmp_path):
    # FIPS 180-2, appendix B.1.
    (tmp_path / "abc").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(tmp_path / "abc") == expected
