"""The inputs, the floor and the error of the correlation's benchmark, computed by hand."""

import numpy as np
import pytest

from bench.correlation.problem import Problem, Setting, largest_error


def test_operations_and_bytes_by_hand():
    setting = Setting(channels=2, height=3, width=4, max_displacement=1, stride_2=1)
    assert setting.output_shape == (1, 9, 3, 4)
    assert setting.operations_padded == 2 * 2 * 9 * 12
    # Rows inside: 2 + 3 + 2; columns: 3 + 4 + 3.
    assert setting.operations == 2 * 2 * 7 * 10
    assert setting.bytes("fp32") == 4 * (24 + 24 + 108)
    assert setting.bytes("fp16") == 2 * (24 + 24 + 108)
    # FlowNetC: 2 * 256 * 441 * 48 * 64; 220 of 21 * 48 rows and of 21 * 64 columns are outside.
    assert Setting().operations_padded == 693_633_024
    assert Setting().operations == 2 * 256 * (21 * 48 - 220) * (21 * 64 - 220)
    # Only the zero displacement stays inside an image of one pixel.
    assert Setting(1, 1, 1, 4, 2).operations == 2


def test_largest_error_by_hand():
    expected = [np.array([2.0, -4.0]), np.array([8.0])]
    assert largest_error([np.array([2.0, -4.5]), np.array([8.5])], expected) == 0.125
    assert np.isnan(largest_error([np.array([np.nan, -4.0]), np.array([8.0])], expected))
    with pytest.raises(ValueError, match=r"shape \(1,\); expected \(2,\)"):
        largest_error([np.array([2.0]), np.array([8.0])], expected)


def test_inputs_are_exact_in_halves():
    problem = Problem(Setting(6, 5, 7, 4, 2), threads=1)
    for array in (problem.f1, problem.f2, problem.grad):
        np.testing.assert_array_equal(array, array.astype(np.float16))
        assert array.dtype == np.float32
