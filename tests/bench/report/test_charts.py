from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bench.report.charts import LogScale, Point, linear_ticks, marker, scatter


def label_boxes(chart):
    for label in chart.labels:
        half = 3.2 * len(label.text)  # a little less than what the plot reserves
        yield label.x - half, label.y - 10, label.x + half, label.y + 2


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
    chart = scatter(points, width=430, height=460)
    assert [label.text for label in chart.labels] == ["net fp32"]
    assert [point.note for point, _, _ in chart.marks] == [f"note {i}" for i in range(10)]


def test_markers_repeat_hollow_then_dashed():
    markers = [marker(series) for series in range(24)]
    assert len(set(markers)) == 24
    assert {each.colour for each in markers} == {f"var(--s{i})" for i in range(8)}
    classes = ["mark", "mark hollow", "mark hollow dashed"]
    assert [each.css_class for each in markers[::8]] == classes


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
