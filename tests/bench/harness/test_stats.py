import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.harness.stats import pairs_per_second, summarise, timed_ms


def percentile(samples, percent):
    """NumPy's default definition (Hyndman and Fan, type 7)."""
    ranked = sorted(samples)
    place = percent / 100 * (len(ranked) - 1)
    low = int(place)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (place - low) * (ranked[high] - ranked[low])


def test_by_hand():
    assert summarise([4.0, 1.0, 2.0, 3.0, 5.0]) == pytest.approx(
        {"p50": 3.0, "p90": 4.6, "p99": 4.96, "mean": 3.0, "n": 5}
    )
    assert summarise([]) is None
    # 4 pairs in 20 ms on average.
    assert pairs_per_second([10.0, 30.0], batch=4) == pytest.approx(200)


@given(st.lists(st.floats(0.01, 1e4), min_size=1, max_size=50))
def test_percentiles(samples):
    found = summarise(samples)
    assert found is not None
    for percent in (50, 90, 99):
        assert found[f"p{percent}"] == pytest.approx(percentile(samples, percent))
    assert found["mean"] == pytest.approx(np.mean(samples))
    assert found["n"] == len(samples)


def test_timed_calls_are_all_counted():
    calls = []
    samples = timed_ms(lambda: calls.append(0), seconds=0.0, minimum=7)
    assert len(samples) == len(calls) == 7
    assert all(sample >= 0 for sample in samples)
