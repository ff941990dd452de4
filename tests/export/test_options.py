"""Requests that cannot be met are refused in one line, before any work."""

import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.bundle.advice import rebuild_command
from engine.bundle.manifest import read_manifest
from engine.data.pair import Pair
from engine.images import write_image
from engine.system.argument_parser import UsageError
from export.build_request import Request
from export.options import parse
from export.resolve import resolve
from export.verify.cases import CALIBRATION_SEED, GATE_SEED
from export.verify.noise import noise
from tests.export.tiny import assert_one_line, build, save_tiny
from tests.support.pictures import write_pair
from training.networks.coarse_to_fine import PASSES
from training.networks.flownets import FlowNetS


def parse_requests(arguments: list[str]) -> tuple[list[Request], Path]:
    options = parse(arguments)
    return resolve(options), options.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--network", "flownets_slm"], "unknown network 'flownets_slm'.* Did you mean 'flownets_"),
        (["--size", "380x500"], "--size 380x500: .* multiples of 64; the next is 384x512"),
        (["--size", "0x64"], "--size: '0x64' is not a size"),
        (
            ["--size", "384"],
            "--size: '384' is not a size; expected HxW in pixels",
        ),
        (["--min-size", "256x192"], "--min-size 256x192, --size 128x192, .*: expected"),
        (["--max-size", "128x128"], "--size 128x192, --max-size 128x128: expected"),
        (["--max-batch", "0"], "--max-batch 0: expected at least 1"),
        (["--targets", "openvno"], "unknown target 'openvno'.* Did you mean 'openvino'"),
        (["--precision", "fp61"], "--precision: invalid choice: 'fp61'"),
        (["--weights", "missing.safetensors"], "missing.safetensors: no such weights file"),
        (
            ["--network", "flownets"],
            r"these weights are not of 'flownets' \(their network: tiny\): ",
        ),
        (
            ["--calibration", "synthetic"],
            "--calibration: applies to int8 only, and --precision is fp32; leave it out, or "
            "choose int8 or auto$",
        ),
        (["--precision", "fp16", "--gate", "motorcycle"], "--gate: .* --precision is fp16"),
        (["--gate-pairs", "8"], "--gate-pairs: .* --precision is fp32"),
        (["--precision", "int8", "--calibration-pairs", "0"], "--calibration-pairs"),
        (
            ["--precision", "int8", "--gate", "motorcycle,"],
            "--gate: 'motorcycle,' has an empty name",
        ),
        (["--max-epe-increase", "0%"], "--max-epe-increase: .* --precision is fp32"),
        *(
            (
                ["--precision", "int8", f"--max-epe-increase={text}"],
                f"--max-epe-increase: '{text}' is not a percentage; expected e.g. 1% or 0.5%",
            )
            for text in ("1", "0.01", "-1%", "1e1%", "%", "")
        ),
    ],
)
def test_usage_errors_are_one_line_and_exit_code_2(
    weights: Path,
    tmp_path: Path,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert build(weights, tmp_path / "bundle", *options) == 2
    assert_one_line(capsys, message)
    assert not (tmp_path / "bundle").exists()


def test_a_target_that_is_not_installed_is_an_error_only_when_asked_for(
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        "export.resolve.TARGETS",
        {"onnxruntime": (("onnxruntime",), ""), "x": (("no_x",), "get it")},
    )
    assert build(weights, tmp_path / "bundle", "--targets", "x") == 2
    assert_one_line(capsys, "target x is not installed; get it")
    assert build(weights, tmp_path / "bundle", "--size", "1x1") == 2
    assert "skipped: x is not installed (get it)" in capsys.readouterr().out


def test_an_unknown_normalisation_is_refused(
    weights: Path, tmp_path: Path, network: FlowNetS, capsys: pytest.CaptureFixture[str]
) -> None:
    save_tiny(network, weights, normalisation="pear_mean")
    assert build(weights, tmp_path / "bundle") == 2
    assert_one_line(capsys, "'pear_mean'; .* Did you mean 'pair_mean'")


@pytest.mark.parametrize("epe", ["x", "2.71", "null", '{"a": NaN}', '{"a": null}', '{"a": [1]}'])
def test_errors_in_the_header_that_are_none_are_refused(
    weights: Path, tmp_path: Path, network: FlowNetS, capsys: pytest.CaptureFixture[str], epe: str
) -> None:
    save_tiny(network, weights, epe=epe)
    assert build(weights, tmp_path / "bundle") == 2
    said = re.escape(f"{weights}: the epe in its header is {epe!r}; expected a JSON object")
    assert_one_line(capsys, said)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    write_pair(folder, "a")
    return folder


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def _spoil(folder: Path) -> None:
    (folder / "a_img2.png").write_bytes(b"no picture")


def _leave_one(folder: Path) -> None:
    _empty(folder)
    write_image(folder / "a.png", np.zeros((64, 64, 3), np.uint8))


def _resize_one(folder: Path) -> None:
    write_image(folder / "a_img2.png", np.zeros((64, 70, 3), np.uint8))


@pytest.mark.parametrize("option", ["--calibration", "--gate"])
@pytest.mark.parametrize("precision", ["int8", "auto"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_empty, "{folder} contains no picture; expected at least two"),
        (_spoil, "{folder}/a_img2.png starts with b'no pictu'; expected a picture"),
        (_leave_one, "{folder}/a.png is the only picture in its folder; expected at least two"),
        (_resize_one, "{folder}/a_img1.png is 64x64 and a_img2.png 64x70; expected two images of"),
    ],
)
def test_folders_without_usable_pairs_are_refused_before_anything_is_rendered(
    weights: Path,
    tmp_path: Path,
    pictures: Path,
    option: str,
    precision: str,
    damage: Callable[[Path], None],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        "export.verify.cases._rendered", lambda *_a, **_k: pytest.fail("rendered first")
    )
    damage(pictures)
    options = ("--precision", precision, option, str(pictures))
    assert build(weights, tmp_path / "bundle", *options) == 2
    assert_one_line(capsys, re.escape(message.format(folder=pictures)))
    assert not (tmp_path / "bundle").exists()


def test_a_gates_folder_needs_true_flow(
    weights: Path, tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "a_flow.flo").unlink()
    options = ("--precision", "int8", "--calibration", str(pictures), "--gate", str(pictures))
    assert build(weights, tmp_path / "bundle", *options) == 2
    assert_one_line(capsys, r"a_img1.png has no true flow; expected a_flow\.\* beside it")


def test_the_weights_tell_the_network(weights: Path, tmp_path: Path) -> None:
    options = ["--weights", str(weights), "--size", "64x128", "-o", str(tmp_path / "bundle")]
    (request,), _ = parse_requests(options)
    assert request.name == "tiny"


def test_a_network_or_weights_are_needed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"give --network NAME, for shipped weights, or --weights"):
        parse(["-o", str(tmp_path / "bundle")])


def test_requests_for_int8(weights: Path, tmp_path: Path, pictures: Path) -> None:
    common = ["--network", "tiny", "--weights", str(weights), "--size", "64x128"]
    common += ["-o", str(tmp_path / "bundle"), "--calibration", str(pictures), "--gate"]
    (request,), output = parse_requests([*common, f"motorcycle,{pictures}", "--precision", "int8"])
    assert output == tmp_path / "bundle"
    assert request.precision == "int8"
    assert request.quantisation is not None
    # Named by its last part: a path of this machine has no place in a bundle.
    assert request.quantisation.calibration_name == "pictures, 1 pair of 64x64"
    assert request.quantisation.calibration[0].name == "a 64x64"
    assert request.quantisation.gate.keys() == {"motorcycle", "pictures"}
    assert request.quantisation.max_epe_increase == 0.01

    options = [str(pictures), "--precision", "auto", "--max-epe-increase", "0.5%"]
    requests, _ = parse_requests([*common, *options])
    assert [request.precision for request in requests] == ["fp32", "fp16", "int8"]
    assert [request.quantisation is None for request in requests] == [True, True, False]
    assert requests[2].quantisation is not None
    assert requests[2].quantisation.max_epe_increase == 0.005


def test_pairs_are_synthetic_unless_told_otherwise(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered = []

    def render(size: tuple[int, int], count: int, *, seed: int) -> list[Pair]:
        rendered.append((size, count, seed))
        pair = noise(1, *size, seed=1)
        return [replace(pair, flow=np.zeros((1, *size, 2), np.float32))] * count

    monkeypatch.setattr("export.verify.cases._rendered", render)
    common = ["--network", "tiny", "--weights", str(weights), "--size", "64x128"]
    (request,), _ = parse_requests([*common, "-o", str(tmp_path / "bundle"), "--precision", "int8"])
    assert request.quantisation is not None
    assert request.quantisation.calibration_name == "synthetic, 32 pairs of 64x128"
    assert request.quantisation.gate.keys() == {"motorcycle", "synthetic"}
    assert rendered == [((64, 128), 128, GATE_SEED), ((64, 128), 32, CALIBRATION_SEED)]


def test_the_command_that_an_error_gives_builds_the_same_sizes(
    weights: Path, tmp_path: Path, tiny_bundle: Path
) -> None:
    sizes = [
        "--min-size",
        "64x128",
        "--size",
        "128x192",
        "--max-size",
        "256x320",
        "--max-batch",
        "2",
    ]
    common = ["--network", "tiny", "--weights", str(weights), "--precision", "fp16"]
    (first,), _ = parse_requests([*common, *sizes, "-o", str(tmp_path / "a bundle")])
    changed = {"network": "tiny", "precision": "fp16", "profile": first.profile}
    manifest = replace(read_manifest(tiny_bundle), **changed)  # type: ignore[arg-type]
    command = rebuild_command(tmp_path / "a bundle", manifest).replace("FILE", str(weights))
    python, *arguments = shlex.split(command)
    assert (python, arguments[:2]) == ("python", ["-m", "export.build_engine"])
    (second,), output = parse_requests(arguments[2:])
    assert (second.profile, second.precision) == (first.profile, "fp16")
    assert output == tmp_path / "a bundle"


def test_help_states_the_number_of_passes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert f"passes of coarse_to_fine_slim (default: {PASSES})" in text
