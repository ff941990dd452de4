import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.flow.metrics import fl_all, mean_epe

# Truth of 100 px, of 10 px and of nothing; errors are 3-4-5 triangles.
TRUTH = np.array([[[100.0, 0.0], [10.0, 0.0], [0.0, 0.0], [np.nan, np.nan]]])
FLOW = np.array([[[103.0, 4.0], [13.0, 4.0], [1.8, 2.4], [7.0, 7.0]]])
VALID = np.array([[True, True, True, False]])


def test_epe_by_hand():
    # 5, 5 and 3 px; the invalid pixel does not count.
    assert mean_epe(FLOW, TRUTH, VALID) == pytest.approx(13 / 3)
    assert mean_epe(FLOW[:, :3], TRUTH[:, :3]) == pytest.approx(13 / 3)


def test_fl_all_by_hand():
    # 5 px is not more than 5 % of 100 px; 3 px is not more than 3 px. One of three is an outlier.
    assert fl_all(FLOW, TRUTH, VALID) == pytest.approx(100 / 3)


def test_nothing_valid():
    nowhere = np.zeros_like(VALID)
    assert mean_epe(FLOW, TRUTH, nowhere) is None
    assert fl_all(FLOW, TRUTH, nowhere) is None


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 6), st.integers(1, 3))
def test_like_a_scalar_loop(seed, height, width, count):
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 40, (count, height, width, 2)).astype(np.float32)
    flow = (truth + rng.normal(0, 3, truth.shape)).astype(np.float32)
    valid = rng.random(truth.shape[:-1]) < 0.6
    valid[0, 0, 0] = True
    truth[~valid] = np.nan
    errors, outliers = [], 0
    for place in np.ndindex(valid.shape):
        if valid[place]:
            u, v = (float(flow[place][i]) - float(truth[place][i]) for i in (0, 1))
            errors.append((u * u + v * v) ** 0.5)
            length = (float(truth[place][0]) ** 2 + float(truth[place][1]) ** 2) ** 0.5
            outliers += errors[-1] > 3 and errors[-1] / length > 0.05
    assert mean_epe(flow, truth, valid) == pytest.approx(sum(errors) / len(errors))
    assert fl_all(flow, truth, valid) == pytest.approx(100 * outliers / len(errors))
