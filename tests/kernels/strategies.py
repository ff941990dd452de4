"""Random correlation problems, and what the twin says about them."""

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from kernels.reference import correlation, correlation_gradients


@dataclass(frozen=True)
class Problem:
    """Feature maps (N, C, H, W) float32, an output gradient, and the parameters."""

    f1: NDArray[np.float32]
    f2: NDArray[np.float32]
    grad: NDArray[np.float32]
    max_displacement: int
    stride_2: int

    @property
    def parameters(self) -> dict[str, int]:
        return {"max_displacement": self.max_displacement, "stride_2": self.stride_2}

    def expected(self) -> NDArray[np.float64]:
        return correlation(self.f1, self.f2, **self.parameters)

    def expected_gradients(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return correlation_gradients(self.grad, self.f1, self.f2, **self.parameters)


def problem(shape: tuple[int, int, int, int], max_displacement: int, stride_2: int) -> Problem:
    """A problem with random numbers, the same in every run."""
    rng = np.random.default_rng(0)
    f1, f2 = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    count = (2 * (max_displacement // stride_2) + 1) ** 2
    grad = rng.standard_normal((shape[0], count, *shape[2:])).astype(np.float32)
    return Problem(f1, f2, grad, max_displacement, stride_2)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Odd sizes, channels off any vector length, batches, displacements beyond the image."""
    shape = (
        draw(st.integers(1, 3)),
        draw(st.integers(1, 35)),
        draw(st.integers(1, 13)),
        draw(st.integers(1, 45)),
    )
    stride_2 = draw(st.sampled_from((1, 2)))
    max_displacement = stride_2 * draw(st.integers(1, 20 // stride_2))
    return problem(shape, max_displacement, stride_2)
