"""Errors by region: hand-worked numbers, and a loop over pixels that is written differently."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.flow.metrics import wauc_score
from engine.flow.regions import REGIONS, SUMS, error_sums, scores

# True motion of 3, 9, 10, 40, 41 and 100 px and one unknown; errors of 0, 1, 2, 4, 5 and 6 px.
TRUTH = np.array([[[3, 0], [0, 9], [6, 8], [-40, 0], [9, 40], [60, 80], [np.nan, np.nan]]])
ERRORS = np.array([[[0, 0], [1, 0], [0, -2], [0, 4], [3, 4], [0, 6], [5, 5]]])
FLOW = np.nan_to_num(TRUTH) + ERRORS
OCCLUDED = np.array([[False, True, False, False, True, False, True]])
FOREGROUND = np.array([[False, False, False, False, True, True, False]])


def test_by_hand():
    found = scores(error_sums(FLOW, TRUTH, occluded=OCCLUDED, foreground=FOREGROUND))
    assert {name: found[name]["pixels"] for name in REGIONS} == {
        "all": 6, "matched": 4, "unmatched": 2, "s0-10": 2, "s10-40": 2, "s40+": 2,
        "background": 4, "foreground": 2,
    }  # fmt: skip
    assert {name: found[name]["epe"] for name in REGIONS} == pytest.approx({
        "all": 18 / 6, "matched": (0 + 2 + 4 + 6) / 4, "unmatched": (1 + 5) / 2,
        "s0-10": 1 / 2, "s10-40": (2 + 4) / 2, "s40+": (5 + 6) / 2,
        "background": (0 + 1 + 2 + 4) / 4, "foreground": (5 + 6) / 2,
    })  # fmt: skip
    # An error of exactly 1 or 5 px is not above it.
    every = {"px1": 4 / 6, "px3": 3 / 6, "px5": 1 / 6}
    # 4 px of 40, 5 px of 41 and 6 px of 100 are above 5 %, so all three count.
    every["fl"] = 3 / 6
    assert {name: found["all"][name] for name in every} == pytest.approx(
        {name: 100 * share for name, share in every.items()}
    )
    assert found["background"]["fl"] == pytest.approx(100 / 4)
    assert found["foreground"]["fl"] == pytest.approx(100)


def test_wauc_by_hand():
    # No error has every weight. 5 px reaches the last threshold only: weight 0.01 of 50.5.
    # 2.5 px reaches thresholds 50 to 100: 0.01 + ... + 0.51 = 13.26 of 50.5.
    found = wauc_score(np.array([0, 0.05, 2.5, 4.96, 5, 5.01, 1e6]))
    assert found == pytest.approx([1, 1, 13.26 / 50.5, 0.01 / 50.5, 0.01 / 50.5, 0, 0])


def test_without_masks_or_true_flow():
    found = scores(error_sums(FLOW, TRUTH))
    for name in ("matched", "unmatched", "background", "foreground"):
        assert found[name] == {"pixels": 0} | dict.fromkeys(SUMS[1:])
    assert not error_sums(FLOW, np.full_like(TRUTH, np.nan)).any()


def test_unknown_numbers_where_there_is_no_true_flow_do_not_count():
    unknown = np.where(np.isnan(TRUTH), np.inf, FLOW)
    np.testing.assert_array_equal(error_sums(unknown, TRUTH), error_sums(FLOW, TRUTH))


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 6))
def test_like_a_loop_over_pixels(seed, height, width):
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 30, (height, width, 2)).astype(np.float32)
    flow = (truth + rng.normal(0, 3, truth.shape)).astype(np.float32)
    truth[rng.random((height, width)) < 0.3] = np.nan
    occluded, foreground = rng.random((2, height, width)) < 0.4
    pixels = {name: [] for name in REGIONS}
    for place in np.ndindex(height, width):
        u, v = map(float, truth[place])
        if math.isnan(u):
            continue
        length = abs(complex(u, v))
        error = abs(complex(*map(float, flow[place])) - complex(u, v))
        names = ["all", "unmatched" if occluded[place] else "matched"]
        names.append("s0-10" if length < 10 else "s10-40" if length <= 40 else "s40+")
        names.append("foreground" if foreground[place] else "background")
        for name in names:
            pixels[name].append((error, error > 3 and error / length > 0.05))
    found = scores(error_sums(flow, truth, occluded=occluded, foreground=foreground))
    for name, values in pixels.items():
        assert found[name] == pytest.approx(expected(values))


def expected(pixels):
    """Return the scores from (error, is an outlier) of each pixel of a region."""
    count = len(pixels)
    if not count:
        return {"pixels": 0} | dict.fromkeys(SUMS[1:])
    errors = [error for error, _ in pixels]
    weights = [1 - (i - 1) / 100 for i in range(1, 101)]
    inliers = [sum(error <= i / 20 for error in errors) / count for i in range(1, 101)]
    area = sum(weight * share for weight, share in zip(weights, inliers, strict=True))
    return {
        "pixels": count,
        "epe": sum(errors) / count,
        **{f"px{limit}": 100 * sum(e > limit for e in errors) / count for limit in (1, 3, 5)},
        "fl": 100 * sum(outlier for _, outlier in pixels) / count,
        "wauc": 100 * area / sum(weights),
    }


def test_sums_of_pairs_are_pooled():
    both = np.concatenate((TRUTH, TRUTH[:, ::-1]), axis=1), np.concatenate((FLOW, FLOW), axis=1)
    one, other = error_sums(FLOW, TRUTH), error_sums(FLOW, TRUTH[:, ::-1])
    np.testing.assert_allclose(error_sums(both[1], both[0]), one + other)


def test_the_nearest_of_several_true_vectors_counts():
    # True vectors of 0 and 4 px, and of 39 and 100 px; errors to the nearest of 1 and 4 px.
    candidates = np.array([[[[0, 0], [39, 0]]], [[[4, 0], [100, 0]]]], float)
    flow = np.array([[[3, 0], [35, 0]]], float)
    found = scores(error_sums(flow, candidates[0], candidates=candidates))
    assert found["all"]["epe"] == pytest.approx((1 + 4) / 2)
    # Their mean lengths are 2 and 69.5 px; 4 px are more than 5 % of 39 px, but not of 100 px.
    assert (found["s0-10"]["pixels"], found["s40+"]["pixels"]) == (1, 1)
    assert (found["all"]["px3"], found["all"]["fl"]) == (50, 0)
