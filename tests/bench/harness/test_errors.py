import numpy as np
import pytest

from bench.harness.errors import Errors
from engine.data.pair import Pair


def pair_of(*lengths):
    """Return a pair of one row whose true flow points down, as long as given; None: unknown."""
    flow = np.zeros((1, len(lengths), 2), np.float32)
    flow[0, :, 1] = [np.nan if length is None else length for length in lengths]
    image = np.zeros((1, len(lengths), 3), np.uint8)
    return Pair("a", image, image, flow)


def still(pair):
    return np.zeros_like(pair.flow)


def test_errors_over_pairs_of_different_sizes():
    """A flow of zero is wrong by the true motion."""
    pairs = [pair_of(5, 20, 50, None), pair_of(1, 30, 30)]
    errors = Errors()
    errors.add(pairs[:1], [still(pairs[0])], None)
    errors.add(pairs[1:], [still(pairs[1])], None)
    found = errors.to_json()
    assert found["epe_by_pair"] == [25, pytest.approx(61 / 3)]
    assert found["epe"] == pytest.approx((75 + 61) / 6)
    assert found["fl_all"] == pytest.approx(100 * 5 / 6)  # all but 1 px
    by_motion = {name: found["scores"][name]["epe"] for name in ("s0-10", "s10-40", "s40+")}
    assert by_motion == {"s0-10": 3, "s10-40": pytest.approx(80 / 3), "s40+": 50}
    assert errors.distance is None


def test_distance_over_all_pixels():
    pairs = [pair_of(None), pair_of(1, 1, 1)]
    errors = Errors()
    reference = [np.full_like(pair.flow, 3) * [1, 4 / 3] for pair in pairs[:1]]
    errors.add(pairs[:1], [still(pairs[0])], reference)
    errors.add(pairs[1:], [still(pairs[1])], [still(pairs[1])])
    assert errors.distance == pytest.approx(5 / 4)  # 5 px at one pixel of four
    found = errors.to_json()
    assert found["epe_by_pair"] == [None, 1]
    assert found["scores"]["s40+"]["epe"] is None
