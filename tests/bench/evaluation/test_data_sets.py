"""``python -m bench.evaluate`` on small trees in the layouts of the published data sets."""

import json

import numpy as np
import pytest

from bench.evaluate import main
from bench.evaluation.subsets import find_subsets
from engine.flow.formats import read_flow
from engine.images import read_image
from engine.system.argument_parser import UsageError
from tests.support.data_sets import HEIGHT, TREES, WIDTH

KNOWN = HEIGHT * WIDTH - 1  # of each flow; the first pixel is unknown


@pytest.fixture
def run(tiny_bundle, tmp_path):
    """Evaluate the tree of a data set; return its subsets in the JSON file."""

    def run(name, *arguments):
        folder = tmp_path / name
        if not folder.exists():
            TREES[name](folder)
        file = tmp_path / "result.json"
        bundle = ["--bundle", str(tiny_bundle), "--backend", "onnxruntime"]
        data = ["--data", f"{name}:{folder}", "--json", str(file)]
        assert main([*bundle, *data, *arguments]) == 0
        return json.loads(file.read_text())["subsets"]

    return run


@pytest.mark.parametrize(
    ("name", "pairs", "padding"),
    [
        ("chairs", 1, "sintel"), ("chairs1485", 1, "sintel"), ("sintel", 5, "sintel"),
        ("kitti2012", 2, "kitti"), ("kitti2015", 2, "kitti"), ("middlebury", 2, "sintel"),
    ],
)  # fmt: skip
def test_each_data_set_has_scores(run, name, pairs, padding):
    (subset,) = run(name)
    assert (subset["data"], subset["pairs"], subset["padding"]) == (name, pairs, padding)
    assert subset["scores"]["all"]["pixels"] == pairs * KNOWN
    assert subset["scores"]["all"]["epe"] > 0


@pytest.mark.parametrize("name", sorted(TREES.keys() - {"frames"}))
def test_every_data_set_is_found(name, tmp_path):
    TREES[name](tmp_path)
    (subset,) = find_subsets([f"{name}:{tmp_path}"])
    assert subset.pairs


def test_sintel_has_a_column_for_each_pass(run, capsys):
    subsets = run("sintel", "--pass", "clean,final", "--split", "train")
    assert [(subset["pass"], subset["split"], subset["pairs"]) for subset in subsets] == [
        ("clean", "train", 3), ("final", "train", 3)
    ]  # fmt: skip
    for subset in subsets:
        scores = subset["scores"]
        pixels = [scores[name]["pixels"] for name in ("matched", "unmatched", "all")]
        # The upper half is occluded; the unknown pixel is there.
        assert pixels == [3 * HEIGHT * WIDTH // 2, 3 * (HEIGHT * WIDTH // 2 - 1), 3 * KNOWN]
        assert scores["background"]["pixels"] == 0
    printed = capsys.readouterr().out
    assert "sintel clean" in printed
    assert "sintel final" in printed
    assert "Fl-bg" not in printed


def test_kitti_has_background_and_foreground(run, capsys):
    (subset,) = run("kitti2015")
    scores = subset["scores"]
    parts = [scores[name]["pixels"] for name in ("background", "foreground")]
    assert sum(parts) == 2 * KNOWN
    assert parts[0] == HEIGHT * WIDTH
    mixed = sum(
        scores[name]["fl"] * count / sum(parts)
        for name, count in zip(("background", "foreground"), parts, strict=True)
    )
    assert scores["all"]["fl"] == pytest.approx(mixed)
    assert "Fl-bg" in capsys.readouterr().out


def test_spring_compares_with_the_nearest_of_four_vectors(run, tiny_flow, tmp_path):
    (subset,) = run("spring")
    errors = []
    for camera in ("left", "right"):
        pictures = (
            tmp_path / "spring/train/0001" / f"frame_{camera}" / f"frame_{camera}_000{number}.png"
            for number in (1, 2)
        )
        images = [read_image(picture) for picture in pictures]
        for pair in (images, images[::-1]):
            # The two sides of 32 and 48 pixels are padded by 16 and 8.
            padded = (np.pad(image, ((16, 16), (8, 8), (0, 0)), mode="edge") for image in pair)
            flow = tiny_flow(*padded)[16:-16, 8:-8]
            each = [np.hypot(flow[..., 0] - u, flow[..., 1]) for u in (1, 2, 3, 4)]
            errors.append(np.min(each, axis=0).ravel()[1:])
    assert subset["scores"]["all"]["epe"] == pytest.approx(np.mean(errors))


@pytest.mark.parametrize(
    ("name", "arguments", "files"),
    [
        ("sintel", ("--pass", "clean,final"),
         ["clean/cave_3/frame_0001.flo", "final/cave_3/frame_0001.flo"]),
        ("kitti2015", (), ["flow/000000_10.png", "flow/000010_10.png"]),
        ("kitti2012", (), ["000000_10.png", "000010_10.png"]),
        ("middlebury", (), ["Army/flow10.flo"]),
    ],
)  # fmt: skip
def test_test_splits_are_written_as_submissions(run, tmp_path, name, arguments, files):
    subsets = run(name, "--split", "test", "--write", str(tmp_path / "out"), *arguments)
    assert all(subset["scores"]["all"]["epe"] is None for subset in subsets)
    written = sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert [path.relative_to(tmp_path / "out").as_posix() for path in written] == files
    for path in written:
        flow, valid = read_flow(path)
        assert flow.shape == (HEIGHT, WIDTH, 2)
        assert valid.all()


def test_spring_is_written_in_its_format(run, tmp_path):
    run("spring", "--split", "test", "--write", str(tmp_path / "out"), "--limit", "1")
    (written,) = (path for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert written.name == "flow_FW_left_0001.flo5"
    assert read_flow(written)[0].shape == (HEIGHT, WIDTH, 2)


def test_two_passes_in_one_file_are_refused(tiny_bundle, tmp_path, capsys):
    TREES["kitti2012"](tmp_path / "kitti")
    data = ["--data", f"kitti2012:{tmp_path / 'kitti'}", "--pass", "colour,grey"]
    assert main([*data, "--bundle", str(tiny_bundle), "--write", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "both kitti2012 colour and kitti2012 grey would write 000000_10.png" in error
    assert not (tmp_path / "out").exists()


def test_passes_and_splits_are_of_the_data_sets_that_have_them(tmp_path):
    names = "sintel", "chairs", "kitti2012"
    for name in names:
        TREES[name](tmp_path / name)
    sources = [f"{name}:{tmp_path / name}" for name in names]
    found = find_subsets(sources, passes=["final"], splits=["validation"])
    assert {subset.title: len(subset.pairs) for subset in found} == {
        "sintel final (validation)": 2,
        "chairs (validation)": 1,
        "kitti2012 colour (validation)": 1,
    }
    with pytest.raises(UsageError, match="sintel, chairs, kitti2012: no pass 'fnal'; expected one"):
        find_subsets(sources, passes=["fnal"])


def test_frames_have_no_flow(tiny_bundle, tmp_path, capsys):
    TREES["frames"](tmp_path / "frames")
    arguments = ["--bundle", str(tiny_bundle), "--data", f"frames:{tmp_path / 'frames'}"]
    assert main(arguments) == 2
    assert "frames has no published flow: nothing to compare with" in capsys.readouterr().err
    assert main([*arguments, "--write", str(tmp_path / "out")]) == 0
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == [
        "frame2.flo", "frame9.flo"
    ]  # fmt: skip
