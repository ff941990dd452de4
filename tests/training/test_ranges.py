"""The chosen int8 range against a search over all ranges with int8 rounding."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from training.int8.ranges import ActivationStatistics, choose_parameters, mse_range, sampling_step
from training.networks.entry import Int8Recipe

SIZE = 4000
Draw = Callable[[np.random.Generator], np.ndarray]

# Activation distributions, from bounded to heavy-tailed, with and without LeakyReLU.
DISTRIBUTIONS: dict[str, Draw] = {
    "uniform": lambda rng: rng.uniform(-1, 1, SIZE),
    "normal": lambda rng: rng.normal(size=SIZE),
    "laplace": lambda rng: rng.laplace(size=SIZE),
    "student": lambda rng: rng.standard_t(3, SIZE),
    "leaky": lambda rng: np.maximum(x := rng.laplace(size=SIZE), 0.1 * x),
    "rectified": lambda rng: np.maximum(rng.normal(size=SIZE), 0),
}


def squared_error(values: np.ndarray, top: float) -> float:
    """Mean squared error of int8 with the range ``top``."""
    values = values.astype(np.float64)
    step = top / 127
    return float(np.mean((np.clip(np.rint(values / step), -127, 127) * step - values) ** 2))


@pytest.mark.parametrize("draw", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), exponent=st.integers(-20, 20))
def test_no_range_is_much_better(draw: Draw, seed: int, exponent: int) -> None:
    values = (draw(np.random.default_rng(seed)) * 2.0**exponent).astype(np.float32)
    ranges = np.abs(values).max() * np.linspace(0.02, 1.1, 300)
    best = min(squared_error(values, top) for top in ranges)
    assert squared_error(values, mse_range(values)) < 1.15 * best


anything = st.floats(-1e6, 1e6, width=32, allow_subnormal=False)


@settings(deadline=None)
@given(hnp.arrays(np.float32, st.integers(1, 200), elements=anything))
def test_the_range_is_never_worse_than_a_half_step_of_the_widest(values: np.ndarray) -> None:
    top = mse_range(values)
    widest = float(np.abs(values).max())
    if widest == 0:
        assert top == 1.0
        return
    assert 0 < top <= widest
    assert squared_error(values, top) <= 1.001 * (widest / 127 / 2) ** 2


@settings(deadline=None)
@given(
    hnp.arrays(np.float32, st.integers(1, 200), elements=st.floats(-100, 100, width=16)),
    st.integers(-10, 10),
)
def test_sign_and_order_do_not_matter_and_scale_carries_over(
    values: np.ndarray, exponent: int
) -> None:
    expected = mse_range(values)
    assert mse_range(-values[::-1].reshape(1, -1)) == expected
    if np.any(values):
        assert mse_range(values * np.float32(2.0**exponent)) == expected * 2.0**exponent


@pytest.mark.parametrize("value", [1e-30, -2.5, 3e4])
def test_a_constant_is_represented_exactly(value: float) -> None:
    values = np.full(100, value, np.float32)
    assert mse_range(values) == pytest.approx(abs(value), rel=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="activations are NaN or infinite"):
        mse_range(np.array([1, value], np.float32))
    sample = np.full((1, 2), value, np.float32)
    with pytest.raises(ValueError, match=r"input of conv2: .*; train the network again"):
        choose_parameters({}, {"conv2": ActivationStatistics(sample, sample[:, 0])}, Int8Recipe())


def test_decoder_inputs_and_unclipped_layers_have_wide_ranges() -> None:
    sample = np.append(np.ones(999), 10).astype(np.float32)[None]
    # The largest value was not sampled.
    found = ActivationStatistics(sample, np.array([20], np.float32))
    statistics = dict.fromkeys(("mse", "scaled", "decoder", "unclipped"), found)
    recipe = Int8Recipe(
        decoder_inputs=("decoder", "unclipped"),
        scaled_layers=("scaled", "decoder", "unclipped"),
        unclipped_layers=("unclipped",),
    )
    ranges = choose_parameters({}, statistics, recipe).ranges
    assert ranges["mse"] < 10
    assert ranges["scaled"] == pytest.approx(0.7 * ranges["mse"])
    assert ranges["decoder"] == pytest.approx(16)
    assert ranges["unclipped"] == 20


@given(
    maps=st.integers(1, 5), height=st.integers(1, 40), width=st.integers(1, 40),
    wanted=st.integers(1, 2000),
)  # fmt: skip
def test_every_column_is_sampled(maps: int, height: int, width: int, wanted: int) -> None:
    columns = np.tile(np.arange(width), (maps, height, 1)).ravel()
    step = sampling_step(columns.size, wanted, width)
    seen = columns[::step]
    assert np.unique(seen).size == min(width, seen.size)
    # Of six numbers in a row, one is coprime to a width of at most 40.
    assert max(1, columns.size // wanted) <= step <= max(1, columns.size // wanted) + 5
