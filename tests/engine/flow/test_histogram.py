"""The histogram of magnitudes against NumPy's percentiles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from engine.flow.histogram import MagnitudeHistogram

MAGNITUDES = arrays.arrays(
    np.float32, st.integers(1, 60), elements=st.floats(2**-7, 8192, width=32)
)


@given(st.lists(MAGNITUDES, min_size=1, max_size=4), st.sampled_from([0.5, 0.95]))
def test_percentiles_are_exact_to_one_bin(frames, share):
    histogram = MagnitudeHistogram()
    for frame in frames:
        histogram.add(frame)
    everything = np.concatenate(frames)
    exact = np.percentile(everything, 100 * share, method="inverted_cdf")
    assert histogram.percentile(share) == pytest.approx(exact, rel=0.012)


def test_no_motion_is_zero():
    histogram = MagnitudeHistogram()
    histogram.add(np.array([0, 1e-6, np.nan, np.inf], np.float32))
    assert histogram.percentile(0.95) == 0
    assert histogram.counts.sum() == 2
