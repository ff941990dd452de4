import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from engine.store.levels import UNKNOWN
from engine.store.prediction import bytes_from_levels, levels_from_bytes, sizes

INT16 = st.integers(-32768, 32767) | st.just(UNKNOWN)


@given(st.tuples(st.just(2), st.integers(1, 6), st.integers(1, 6)), st.data())
def test_round_trip(shape, data):
    levels = data.draw(arrays.arrays(np.int16, shape, elements=INT16))
    content = bytes_from_levels(levels)
    unknown = (levels == UNKNOWN).all(axis=0).any()
    assert len(content) == sizes(*shape[1:])[int(unknown)]
    assert np.array_equal(levels_from_bytes(content.copy(), *shape[1:]), levels)


def test_differences_by_hand():
    levels = np.int16([[[5, 7, 9], [6, 8, 7]], [[0, 0, 0], [0, 0, 0]]])
    # x: 5 2 2, then below it 6-5=1, (8-6)-2=0, (7-8)-2=-3; signs in the lowest bit
    expected = [10, 4, 4, 2, 0, 5, *[0] * 6]
    assert bytes_from_levels(levels).view("<u2").tolist() == expected


def test_affine_flow_leaves_only_its_border():
    y, x = np.mgrid[:20, :30]
    levels = np.stack([3 * x + 2 * y - 7, x - y]).astype(np.int16)
    inner = bytes_from_levels(levels).view("<u2").reshape(2, 20, 30)[:, 1:, 1:]
    assert not inner.any()


@pytest.mark.parametrize("pixels", [(0, 0), (2, 1), (2, 3)])
def test_an_unknown_pixel_costs_no_jump(pixels):
    levels = np.full((2, 3, 4), 100, np.int16)
    levels[:, pixels[0], pixels[1]] = UNKNOWN
    differences = bytes_from_levels(levels)[: sizes(3, 4)[0]].view("<u2")
    assert differences.max() <= 200
