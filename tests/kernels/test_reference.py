"""The twin against the definition written as loops, and against finite differences."""

import numpy as np
import pytest

from kernels.arguments import CorrelationError
from kernels.reference import correlation, correlation_gradients
from tests.kernels.strategies import problem


@pytest.mark.parametrize(("max_displacement", "stride_2"), [(2, 1), (4, 2), (0, 1)])
def test_matches_the_definition_written_as_loops(max_displacement: int, stride_2: int) -> None:
    p = problem((2, 3, 4, 5), max_displacement, stride_2)
    out = p.expected()
    steps = range(-max_displacement, max_displacement + 1, stride_2)
    channels = [(dy, dx) for dy in steps for dx in steps]
    assert out.shape == (2, len(channels), 4, 5)
    for n, k, y, x in np.ndindex(out.shape):
        dy, dx = channels[k]
        inside = 0 <= y + dy < 4 and 0 <= x + dx < 5
        expected = (
            np.mean(p.f1[n, :, y, x].astype(float) * p.f2[n, :, y + dy, x + dx]) if inside else 0.0
        )
        assert out[n, k, y, x] == pytest.approx(expected, abs=1e-12)


def test_gradients_are_the_derivatives() -> None:
    p = problem((1, 2, 3, 4), 2, 1)
    f = [p.f1.astype(float), p.f2.astype(float)]
    gradients = correlation_gradients(p.grad, *f, **p.parameters)
    for which, gradient in enumerate(gradients):
        for index in np.ndindex(*gradient.shape):
            values = []
            for sign in (1, -1):
                moved = [array.copy() for array in f]
                moved[which][index] += sign * 1e-3
                values.append((p.grad * correlation(*moved, **p.parameters)).sum())
            # The correlation is linear in each argument: central differences are exact.
            assert gradient[index] == pytest.approx((values[0] - values[1]) / 2e-3, abs=1e-8)


@pytest.mark.parametrize(
    ("shape1", "shape2", "max_displacement", "stride_2", "text"),
    [
        ((1, 3, 4, 5), (1, 2, 4, 5), 2, 1, "number of channels differs: f1 has 3, f2 has 2"),
        ((1, 3, 4, 5), (1, 3, 4, 6), 2, 1, "width differs"),
        ((2, 3, 4, 5), (1, 3, 4, 5), 2, 1, "batch size differs"),
        ((3, 4, 5), (3, 4, 5), 2, 1, r"f1 has rank 3, shape \(3, 4, 5\); expected \(N, C, H, W\)"),
        ((1, 0, 4, 5), (1, 0, 4, 5), 2, 1, r"f1 is empty, its shape is \(1, 0, 4, 5\); expected"),
        ((1, 3, 4, 5), (1, 3, 4, 5), 3, 2, "3 is not a multiple of stride_2 2.*use 2 or 4"),
        ((1, 3, 4, 5), (1, 3, 4, 5), -2, 1, "max_displacement is -2"),
        ((1, 3, 4, 5), (1, 3, 4, 5), 2, 0, "stride_2 is 0"),
    ],
)
def test_refuses_by_name(
    shape1: tuple[int, ...],
    shape2: tuple[int, ...],
    max_displacement: int,
    stride_2: int,
    text: str,
) -> None:
    with pytest.raises(CorrelationError, match=text):
        correlation(
            np.zeros(shape1),
            np.zeros(shape2),
            max_displacement=max_displacement,
            stride_2=stride_2,
        )
