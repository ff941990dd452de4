import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bench.report.charts import LogScale, Point, linear_ticks, scatter


def label_boxes(svg):
    for x, y, text in re.findall(r'class="label" x="([-\d.]+)" y="([-\d.]+)">([^<]+)<', svg):
        half = 3.2 * len(text)  # a little less than what the plot reserves
        yield float(x) - half, float(y) - 10, float(x) + half, float(y) + 2


@given(
    points=st.lists(
        st.tuples(st.floats(1, 400), st.sampled_from([2.3, 3.41, 3.412, 3.45, 6.0])),
        min_size=1,
        max_size=12,
    )
)
def test_labels_do_not_cover_each_other(points):
    named = [Point(x, y, f"network_{i} fp32", i, "") for i, (x, y) in enumerate(points)]
    boxes = list(label_boxes(scatter(named, width=1080, height=440)))
    assert len(boxes) == len(points)
    for index, (left, top, right, bottom) in enumerate(boxes):
        assert left >= 46
        assert right <= 1080
        for other in boxes[index + 1 :]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_points_of_one_label_share_it():
    points = [Point(10.0 + i, 3.4, "net fp32", i, f"note {i}") for i in range(10)]
    svg = scatter(points, width=430, height=460)
    assert svg.count(">net fp32<") == 1
    assert svg.count('class="mark"') == 8
    assert svg.count('class="mark hollow"') == 2
    assert [f"note {i}" in svg for i in range(10)] == [True] * 10


@given(low=st.floats(0.01, 1e4), ratio=st.floats(1.4, 1e5))
def test_log_ticks_are_inside_and_apart(low, ratio):
    scale = LogScale(low, low * ratio)
    places = [scale(value) for value in scale.ticks(0.09)]
    assert places
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in places)
    assert all(b - a >= 0.09 for a, b in pairwise(places))


@given(low=st.floats(0, 100), span=st.floats(1e-3, 100))
def test_linear_ticks_enclose(low, span):
    ticks = linear_ticks(low, low + span)
    assert ticks[0] <= low + 1e-9
    assert ticks[-1] >= low + span - 1e-9
    assert 2 <= len(ticks) <= 8
