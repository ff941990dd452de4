from pathlib import Path

import pytest

from bench.evaluation.submission import submission_path
from bench.evaluation.subsets import Subset
from engine.data.files import PairFiles


@pytest.mark.parametrize(
    ("data", "pass_name", "name", "format", "expected"),
    [
        ("sintel", "clean", "alley_1/frame_0001", None, "out/clean/alley_1/frame_0001.flo"),
        ("sintel", "final", "alley_1/frame_0001", "kitti", "out/final/alley_1/frame_0001.png"),
        ("kitti2015", None, "000000_10", None, "out/flow/000000_10.png"),
        ("kitti2015", None, "000000_10", "flo", "out/flow/000000_10.flo"),
        ("kitti2012", None, "000000_10", None, "out/000000_10.png"),
        ("chairs", None, "00001", None, "out/00001.flo"),
    ],
)
def test_paths(data, pass_name, name, format, expected):
    pair = PairFiles(name, Path("1.png"), Path("2.png"), None)
    subset = Subset(data, "testing", pass_name, "sintel", (pair,), 1)
    assert submission_path(Path("out"), subset, pair, format) == Path(expected)
