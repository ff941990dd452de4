"""The options of inference, on the command line."""

import numpy as np
import pytest

from engine.cli.main import main
from engine.images import write_image


def test_large_frames(tiny_bundle, tmp_path, rng, capsys):
    for name in ("a.png", "b.png"):
        write_image(tmp_path / name, rng.integers(0, 256, (300, 520, 3), dtype=np.uint8))
    options = ["--bundle", str(tiny_bundle), "--backend", "onnxruntime", "--threads", "1"]
    files = [str(tmp_path / name) for name in ("a.png", "b.png")]
    out = str(tmp_path / "flow.npy")
    size = ["--tile", "256x320", "--max-side", "448"]
    assert main(["infer", *files, "-o", out, *options, *size]) == 0
    assert "onnxruntime (tiles of 256x320) (max side 448) on cpu" in capsys.readouterr().out
    assert np.load(out).shape == (300, 520, 2)
    assert main(["infer", *files, "-o", out, "--force", *options, "--tile", "300"]) == 1
    assert "tile is 300x300; tiny takes multiples of 64" in capsys.readouterr().err
    assert main(["infer", *files, "-o", out, *options, "--max-side", "0"]) == 2
    assert "'0' is not a count; expected a whole number of at least 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--threads", "0", "argument --threads: '0' is not a count; expected a whole number"),
        ("--device", "-1", "argument --device: '-1' is out of range; expected a whole number from"),
        ("--iterations", "0", "argument --iterations: '0' is not a count"),
        ("--backend", "onnx", "unknown backend 'onnx'; expected auto, tensorrt,"),
    ],
)
def test_values_of_the_wrong_kind_are_wrong_usage(capsys, option, value, message):
    assert main(["infer", "a.png", "b.png", f"{option}={value}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("flow: ")
    assert message in line
    assert line.endswith("See flow infer --help.")
