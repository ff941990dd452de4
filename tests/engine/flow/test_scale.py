"""The colour scale against NumPy's percentile of everything seen."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from engine.flow.histogram import MagnitudeHistogram
from engine.flow.scale import color_scale

MAGNITUDES = arrays.arrays(
    np.float32, st.integers(1, 60), elements=st.floats(0.125, 8192, width=32)
)


@given(st.lists(MAGNITUDES, min_size=1, max_size=4), st.sampled_from([50, 90, 99]))
def test_percentile_of_all_frames(frames, percentile):
    seen = MagnitudeHistogram()
    for frame in frames:
        seen.add(frame)
    value = color_scale(seen, percentile=percentile, least=0.01)
    everything = np.concatenate(frames)
    exact = np.percentile(everything, percentile, method="inverted_cdf")
    assert exact * 0.999 <= value <= exact * 1.023  # the upper end of a bin of 2.2 %


def test_still_scenes_are_not_noise():
    seen = MagnitudeHistogram()
    for noise in (np.full(100, 0.02, np.float32), np.zeros(100, np.float32)):
        seen.add(noise)
        assert color_scale(seen) == 1


def test_unknown_magnitudes_do_not_count():
    seen = MagnitudeHistogram()
    seen.add(np.array([np.nan, np.inf], np.float32))
    assert color_scale(seen) == 1
    seen.add(np.array([4, np.nan], np.float32))
    assert 4 <= color_scale(seen) < 4.1
