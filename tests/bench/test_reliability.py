"""How confidence is measured: sparsification by hand, and the command."""

import numpy as np
import pytest

from bench.reliability import REMOVED, main, measured, sparsification, table
from engine import FlowEngine
from engine.bundle.manifest import read_manifest
from engine.data.pair import Pair, PairsError
from engine.flow.formats import write_flow
from engine.images import write_image
from tests.support.fake_backend import FakeBackend


def test_sparsification_by_hand():
    """Errors 1, 2, 3, 6 have the mean 3; half of them left: 1 and 2, or by a bad rank 3 and 6."""
    error = np.array([6.0, 2, 1, 3])
    half = int(np.flatnonzero(REMOVED == 0.5)[0])
    assert sparsification(error, -error)[[0, half, -1]].tolist() == [1, 0.5, pytest.approx(1 / 3)]
    assert sparsification(error, error)[half] == 1.5
    assert sparsification(np.zeros(4), error).tolist() == [0] * len(REMOVED)


@pytest.fixture
def flow_engine(tiny_bundle):
    """It finds no motion."""
    with FlowEngine(read_manifest(tiny_bundle), FakeBackend()) as opened:
        yield opened


def test_a_wrong_half_is_ranked_last(flow_engine, rng):
    """Zero flow is right for the left half; the right half is another image, whose flow is 5."""
    image1 = rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)
    image2 = image1.copy()
    image2[:, 48:] = 255 - image1[:, 48:]
    truth = np.zeros((64, 96, 2), np.float32)
    truth[:, 48:, 0], truth[0, 0] = 5, np.nan
    occluded = np.zeros((64, 96), bool)
    occluded[:, :12] = True
    found = measured(Pair("a", image1, image2, truth, occluded=occluded), flow_engine)
    assert found.epe == pytest.approx(5 * 48 * 64 / (96 * 64 - 1))
    assert found.area("confidence without") == pytest.approx(0, abs=0.02)
    assert found.area("small motion first") > 0.2  # all equal: by their order, from row to row
    assert found.counts.tolist() == [0, 0, 12 * 64 - 1]
    lines = list(table([found]))
    assert lines[0] == "1 pairs, EPE 2.50 px"
    assert lines[-1].startswith("occlusion: 0% of what is found is occluded, 0% of what is")


def test_without_truth(flow_engine):
    image = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(PairsError, match="a has no true flow, which this command needs"):
        measured(Pair.without_flow("a", image, image), flow_engine)


def test_the_command(tmp_path, tiny_bundle, rng, capsys):
    for index in (1, 2):
        image = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        write_image(tmp_path / f"p_img{index}.png", image)
    write_flow(tmp_path / "p_flow.flo", np.ones((64, 64, 2), np.float32))
    bundle = ["--bundle", str(tiny_bundle), "--backend", "onnxruntime"]
    assert main(["--data", str(tmp_path), *bundle]) == 0
    assert capsys.readouterr().out.startswith("1 pairs, EPE ")
    assert main(["--data", str(tmp_path / "none"), *bundle]) == 2
    assert "error: " in capsys.readouterr().err
