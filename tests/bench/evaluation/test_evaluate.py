"""``python -m bench.evaluate`` on small pairs, with a network whose flow numpy computes too."""

import json
import shutil

import numpy as np
import pytest

from bench.evaluate import main
from engine.flow.formats import read_flow, write_flow
from engine.images import read_image
from tests.support.pictures import write_pair

SIZES = {"00001": (60, 90), "00002": (70, 64), "00003": (60, 90)}


@pytest.fixture
def pairs(tmp_path):
    folder = tmp_path / "pairs"
    folder.mkdir()
    for name, size in SIZES.items():
        write_pair(folder, name, *size)
    return folder


@pytest.fixture
def run(tiny_bundle, pairs, tmp_path):
    """Run the command on ``pairs``; return its exit code and the JSON file's content, if any."""

    def run(*arguments):
        file = tmp_path / "result.json"
        file.unlink(missing_ok=True)
        code = main(
            ["--bundle", str(tiny_bundle), "--backend", "onnxruntime", "--data", f"chairs:{pairs}",
             "--json", str(file), *arguments]
        )  # fmt: skip
        return code, json.loads(file.read_text()) if file.exists() else None

    return run


def centred(flow_of, image1, image2):
    """The flow of a network on images padded to multiples of 64 as MPI-Sintel's protocol does."""
    height, width = image1.shape[:2]
    top, left = -height % 64 // 2, -width % 64 // 2
    sides = (top, -height % 64 - top), (left, -width % 64 - left), (0, 0)
    padded = (np.pad(image, sides, mode="edge") for image in (image1, image2))
    return flow_of(*padded)[top : top + height, left : left + width]


def errors_by_numpy(pairs, tiny_flow):
    """The errors of all known pixels of each pair."""
    for name in SIZES:
        images = (read_image(pairs / f"{name}_img{i}.png") for i in (1, 2))
        truth, valid = read_flow(pairs / f"{name}_flow.flo")
        difference = centred(tiny_flow, *images) - truth
        yield np.hypot(*difference[valid].T)


def test_the_scores_are_those_of_numpy(run, pairs, tiny_flow, capsys):
    code, result = run()
    assert code == 0
    errors = list(errors_by_numpy(pairs, tiny_flow))
    (subset,) = result["subsets"]
    assert [image["epe"] for image in subset["images"]] == pytest.approx([e.mean() for e in errors])
    assert subset["scores"]["all"]["epe"] == pytest.approx(np.concatenate(errors).mean())
    assert subset["scores"]["all"]["pixels"] == sum(map(len, errors))
    assert subset["scores"]["matched"]["epe"] is None
    assert subset["epe_per_image"] == pytest.approx(np.mean([e.mean() for e in errors]))
    assert [image["size"] for image in subset["images"]] == ["60x90", "70x64", "60x90"]
    assert subset["latency_ms"]["n"] == 3
    assert {key: result["method"][key] for key in ("network", "backend")} == {
        "network": "tiny", "backend": "onnxruntime"
    }  # fmt: skip
    assert result["schema"] == 1
    assert result["method"]["iterations"] is None
    worst = max(zip(errors, SIZES, strict=True), key=lambda pair: pair[0].mean())
    printed = capsys.readouterr().out
    assert f"worst      chairs validation: {worst[1]} {worst[0].mean():.2f} px" in printed
    assert f"{np.concatenate(errors).mean():.2f}" in printed


def test_limit_spreads_over_the_pairs(run):
    _, result = run("--limit", "2", "--split", "train,validation")
    for subset, split in zip(result["subsets"], ("train", "validation"), strict=True):
        assert (subset["split"], subset["pairs"], subset["available"]) == (split, 2, 3)
        assert [image["name"] for image in subset["images"]] == ["00001", "00002"]


def test_another_padding_gives_another_flow(run):
    own, other = (run("--padding", mode)[1] for mode in ("sintel", "bottom_right"))
    first, second = (result["subsets"][0]["scores"]["all"]["epe"] for result in (own, other))
    assert abs(first - second) > 0.01


def test_a_run_that_was_stopped_continues(run, pairs, tmp_path, capsys, monkeypatch):
    _, whole = run()
    picture = pairs / "00003_img1.png"
    shutil.move(picture, tmp_path / "kept.png")
    picture.write_bytes(b"no picture")
    checkpoint = tmp_path / "result.json.partial"
    assert run() == (2, None)
    error = capsys.readouterr().err
    assert f"2 finished pairs are kept in {checkpoint}" in error
    assert "error: " in error
    assert str(picture) in error
    # As after a kill in the middle of a line.
    with checkpoint.open("a") as file:
        file.write('{"subset": 0, "na')
    shutil.copy(tmp_path / "kept.png", picture)
    read = []
    monkeypatch.setattr("bench.evaluation.run.read_pair", spied("read_pair", read))
    code, result = run()
    assert code == 0
    assert [files.name for files in read] == ["00003"]
    assert "continuing after 2 pairs" in capsys.readouterr().out
    assert without_times(result) == without_times(whole)
    assert not checkpoint.exists()


def spied(name, calls):
    import bench.evaluation.run as module

    function = getattr(module, name)
    return lambda argument: calls.append(argument) or function(argument)


def without_times(result):
    (subset,) = result["subsets"]
    images = [{**image, "ms": None} for image in subset["images"]]
    return {**subset, "latency_ms": None, "images": images}


def test_the_checkpoint_of_another_run_is_refused(run, pairs, tmp_path, capsys):
    (pairs / "00002_img1.png").write_bytes(b"no picture")
    assert run()[0] == 2
    capsys.readouterr()
    assert run("--padding", "kitti")[0] == 2
    error = capsys.readouterr().err
    assert "result.json.partial is of a run that was not finished, with another data" in error
    assert "delete the file, or write elsewhere" in error
    (tmp_path / "result.json.partial").write_text("no JSON\n")
    assert run()[0] == 2
    assert "result.json.partial is no checkpoint of an evaluation" in capsys.readouterr().err


def test_a_pair_that_cannot_be_read_first_leaves_no_file(run, pairs, tmp_path, capsys):
    (pairs / "00001_flow.flo").write_bytes(b"")
    assert run("--write", str(tmp_path / "flows")) == (2, None)
    assert "00001_flow.flo" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["pairs"]


def test_pairs_without_flow_can_only_be_written(run, pairs, tmp_path, tiny_flow, capsys):
    for file in pairs.glob("*.flo"):
        file.unlink()
    assert run()[0] == 2
    assert "has no published flow: nothing to compare with. Add --write DIR" in (
        capsys.readouterr().err
    )
    code, result = run("--write", str(tmp_path / "flows"), "--format", "kitti")
    assert code == 0
    assert result["subsets"][0]["scores"]["all"]["epe"] is None
    images = (read_image(pairs / f"00002_img{i}.png") for i in (1, 2))
    flow, valid = read_flow(tmp_path / "flows" / "00002.png")
    assert valid.all()
    np.testing.assert_allclose(flow, centred(tiny_flow, *images), atol=0.5 / 64 + 1e-5)


def test_a_flow_that_is_not_finite_is_an_error(run, monkeypatch, capsys):
    def run_nan(self, first, second):
        return np.full((*first.shape[:3], 2), np.nan, np.float32)

    monkeypatch.setattr("engine.backends.onnx_graphs.CpuBackend.run", run_nan)
    assert run() == (2, None)
    assert "error: 00001: the flow of 8192 of 8192 pixels is NaN" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--data", "chairs:nowhere"],
            "nowhere does not exist; expected a folder of pictures",
        ),
        (["--split", "tran"], "chairs: no split 'tran'; expected one of train, validation. Did"),
        (["--pass", "clean"], "chairs: no pass 'clean'; leave --pass out."),
        (["--format", "flo"], "--format is for --write DIR"),
        (["--data", "chairs:x", "--write", "out"], "--write is for one data set"),
        (
            ["--write", "out", "--padding", "centre_crop"],
            "a centre crop has no flow at the borders",
        ),
        (["--padding", "none"], "argument --padding: invalid choice: 'none'"),
        (["--iterations", "0"], "argument --iterations: '0' is not a count"),
        (["--iterations", "5"], "iterations is 5, but tiny has no repeated updates"),
        (["--limit", "0"], "argument --limit: '0' is not a count"),
        (["--backend", "nothing"], "nothing"),
        (["--bundle", "nowhere"], "error: nowhere is not a bundle"),
    ],
)
def test_requests_that_cannot_be_met(run, arguments, message, tmp_path, capsys):
    before = sorted(tmp_path.iterdir())
    assert run(*arguments) == (2, None)
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_data_are_needed(capsys):
    assert main([]) == 2
    assert "the following arguments are required: --data" in capsys.readouterr().err


def test_a_closed_pipe_does_not_lose_the_files(run, tmp_path, monkeypatch):
    def closed(*_):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("bench.evaluate.terminal_table", closed)
    code, result = run()
    assert code == 2
    assert result["subsets"][0]["scores"]["all"]["epe"] > 0
    assert not (tmp_path / "result.json.partial").exists()


def test_the_page_names_and_shows_the_worst_pairs(run, tmp_path):
    page = tmp_path / "page.html"
    _, result = run("--report", str(page))
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 4 * 3
    (subset,) = result["subsets"]
    for image in subset["images"]:
        assert f"{image['epe']:.2f}" in text
    assert "errors of tiny fp32" in text
    assert "chairs: the worst pairs" in text


def test_a_centre_crop_has_the_errors_of_its_pixels(run, tmp_path):
    """70x64 becomes 64x64, of which no pixel of the true flow is unknown; 60x90 does not fit."""
    page = tmp_path / "page.html"
    for name in ("00001", "00003"):
        for file in (tmp_path / "pairs").glob(f"{name}_*"):
            file.unlink()
    _, result = run("--padding", "centre_crop", "--report", str(page))
    assert result["subsets"][0]["scores"]["all"]["pixels"] == 64 * 64
    assert "nan px" not in page.read_text()


def test_known_masks_give_their_scores(run, pairs, monkeypatch, tiny_flow):
    """The masks of a pair reach the scores: a wrong pixel counts as unmatched and foreground."""
    from bench.evaluation import run as module
    from engine.data.pair import Pair

    def read_pair(files):
        image1, image2 = (read_image(path) for path in (files.image1, files.image2))
        flow = centred(tiny_flow, image1, image2).astype(np.float32)
        flow[0, 0, 0] += 10
        mask = np.zeros(flow.shape[:2], bool)
        mask[0, 0] = True
        return Pair(files.name, image1, image2, flow, occluded=mask, foreground=mask)

    monkeypatch.setattr(module, "read_pair", read_pair)
    scores = run()[1]["subsets"][0]["scores"]
    for name in ("unmatched", "foreground"):
        assert scores[name]["epe"] == pytest.approx(10, rel=1e-4)
        assert scores[name]["pixels"] == 3
    for name in ("matched", "background"):
        assert scores[name]["epe"] == pytest.approx(0, abs=1e-4)


def test_kitti_flow_beyond_the_format_is_an_error(run, tmp_path, pairs, monkeypatch, capsys):
    def infer(self, image1, image2):
        return np.full((*image1.shape[:2], 2), 600, np.float32)

    monkeypatch.setattr("engine.engine.FlowEngine.infer", infer)
    assert run("--write", str(tmp_path / "flows"), "--format", "kitti")[0] == 2
    assert "a KITTI png stores -512 to 511.98 px. Write .flo" in capsys.readouterr().err


def test_flo_is_written_as_it_is(run, tmp_path, pairs):
    run("--write", str(tmp_path / "flows"))
    written = sorted((tmp_path / "flows").rglob("*.*"))
    assert [path.name for path in written] == ["00001.flo", "00002.flo", "00003.flo"]
    write_flow(tmp_path / "again.flo", read_flow(written[0])[0])
    assert (tmp_path / "again.flo").read_bytes() == written[0].read_bytes()
