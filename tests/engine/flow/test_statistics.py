"""Statistics of flows against NumPy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from engine.flow.statistics import FlowStatistics

FLOWS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 4), st.just(2)),
    elements=st.one_of(st.floats(-3000, 3000, width=32), st.just(float("nan"))),
)


@given(st.lists(FLOWS, min_size=1, max_size=3))
def test_sums_are_statistics_of_all_pixels(flows):
    first, *others = map(FlowStatistics.of, flows)
    found = sum(others, start=first)
    vectors = np.concatenate([flow.reshape(-1, 2) for flow in flows]).astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=-1)
    lengths = lengths[~np.isnan(lengths)]
    assert found.pixels == len(vectors)
    assert found.unknown_share == pytest.approx(1 - len(lengths) / len(vectors))
    if not len(lengths):
        assert found.mean is None
        assert found.classes() == []
        return
    assert found.mean == pytest.approx(lengths.mean())
    assert (found.least, found.largest) == pytest.approx((lengths.min(), lengths.max()))
    assert sum(share for _, share in found.classes()) == pytest.approx(1)


def test_a_limit_belongs_to_the_class_above():
    flow = np.array([[[0, 0], [0, 0.25], [0.3, 0.4], [1, 0], [0, 2], [20000, 0]]], np.float32)
    classes = FlowStatistics.of(flow).classes()
    filled = {name for name, share in classes if share == 1 / 6}
    assert filled == {
        "0 to 0.25 px", "0.25 to 0.5 px", "0.5 to 1 px", "1 to 2 px", "2 to 4 px",
        "16384 px or more",
    }  # fmt: skip
    assert ("8192 to 16384 px", 0) in classes
