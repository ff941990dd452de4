import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from engine.errors import InputError
from engine.store.levels import (
    LARGEST,
    UNKNOWN,
    check_step,
    flow_from_levels,
    levels_from_flow,
    step_text,
)

STEPS = st.integers(-12, 4).map(lambda exponent: 2.0**exponent)


def test_levels_by_hand():
    flow = np.float32([[[1, -2], [0.01, 511.98], [np.nan, 3], [0, 1e10]]])
    levels = levels_from_flow(flow, 1 / 64)
    assert levels.dtype == np.int16
    assert levels.tolist() == [[[64, 1, UNKNOWN, UNKNOWN]], [[-128, LARGEST, UNKNOWN, UNKNOWN]]]
    expected = [[[1, -2], [1 / 64, LARGEST / 64], [np.nan, np.nan], [np.nan, np.nan]]]
    np.testing.assert_array_equal(flow_from_levels(levels, 1 / 64), expected)


@given(STEPS, st.data())
def test_the_error_is_at_most_half_a_step(step, data):
    shape = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(2)))
    values = st.floats(-1, 1, width=32) | st.sampled_from([np.nan, np.inf, -np.inf])
    flow = data.draw(arrays.arrays(np.float32, shape, elements=values)) * np.float32(LARGEST * step)
    found = flow_from_levels(levels_from_flow(flow, step), step)
    known = np.isfinite(flow).all(axis=-1)
    assert np.array_equal(~np.isnan(found).any(axis=-1), known)
    assert np.isnan(found[~known]).all()
    exact = found[known].astype(np.float64) - flow[known].astype(np.float64)
    assert np.abs(exact).max(initial=0) <= step / 2


@given(STEPS, arrays.arrays(np.int16, (2, 3, 4), elements=st.integers(-LARGEST, LARGEST)))
def test_multiples_of_the_step_are_exact(step, levels):
    flow = (np.moveaxis(levels, 0, -1) * step).astype(np.float32)
    assert np.array_equal(levels_from_flow(flow, step), levels)


@pytest.mark.parametrize(
    ("value", "step", "message"),
    [
        (700, 1 / 64, "up to 700.00 px; .* of 1/64 px holds at most 511.98. .* a step of 1/32 "),
        (-2049, 1 / 64, "up to 2049.00 px; .* a step of 1/8 "),
        (512, 1 / 64, "up to 512.00 px; .* a step of 1/32 "),
        (1e6, 2, r"at most 65534.00. Mark these pixels as unknown \(NaN\)."),
    ],
)
def test_flow_beyond_the_range(value, step, message):
    flow = np.full((2, 2, 2), np.nan, np.float32)
    flow[1, 1] = 1, value
    with pytest.raises(InputError, match=message):
        levels_from_flow(flow, step)


def test_the_step_in_the_message_is_enough():
    flow = np.full((1, 1, 2), 2049, np.float32)
    assert flow_from_levels(levels_from_flow(flow, 1 / 8), 1 / 8)[0, 0, 0] == 2049
    with pytest.raises(InputError):
        levels_from_flow(flow, 1 / 16)


def test_rows_far_apart():
    flow = np.zeros((40, 3, 2), np.float32)
    flow[1, 0], flow[20, 1], flow[39, 2] = (512, 0), np.nan, (0, -2049)
    expected = np.zeros((2, 40, 3), np.int16)
    expected[0, 1, 0], expected[:, 20, 1], expected[1, 39, 2] = 512 * 8, UNKNOWN, -2049 * 8
    assert np.array_equal(levels_from_flow(flow, 1 / 8), expected)
    with pytest.raises(InputError, match=r"up to 2049.00 px; .* a step of 1/8 "):
        levels_from_flow(flow, 1 / 64)


@pytest.mark.parametrize("step", [0, -1, 0.01, 3, 2.0**-13, 32, np.nan, np.inf])
def test_other_steps_are_refused(step):
    with pytest.raises(InputError, match="expected a power of two from 1/4096 to 16"):
        check_step(step)


def test_steps_as_text():
    for value, text in ((1 / 64, "1/64"), (1.0, "1"), (2.0, "2"), (2.0**-12, "1/4096")):
        assert step_text(value) == text
