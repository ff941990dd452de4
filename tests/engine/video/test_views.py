"""What the views draw, and what GIFs and odd sizes make of it."""

from fractions import Fraction

import numpy as np
import pytest

from engine.flow.colour import flow_to_color
from engine.images import read_image
from engine.video.frame import Frame
from engine.video.outputs import Movie, Pictures
from engine.video.painter import Painter
from engine.video.pipeline import FlowFrame
from engine.video.reader import VideoReader
from engine.video.views import Arrows, Colors, Overlay, SideBySide


@pytest.fixture
def step():
    """A grey frame of which the right half moves by (6, 0)."""
    image = np.full((120, 160, 3), 100, np.uint8)
    flow = np.zeros((120, 160, 2), np.float32)
    flow[:, 80:, 0] = 6
    frames = Frame("a", Fraction(0), image), Frame("b", Fraction(1, 25), image)
    return FlowFrame(*frames, flow, 0)


@pytest.mark.parametrize("every", [1, 2, 4])
def test_colours(step, every):
    painter = Painter(120, 160, scale=6)
    found = Colors(painter, every=every).draw(step)
    expected = flow_to_color(step.flow, max_magnitude=6)[::every, ::every]
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_side_by_side(step):
    view = SideBySide(Painter(120, 160, scale=6), every=2)
    found = view.draw(step)
    assert found.shape == (view.height, view.width, 3) == (120, 320, 3)
    np.testing.assert_array_equal(found[:, :160], step.first.image)
    colors = flow_to_color(step.flow, max_magnitude=6)
    np.testing.assert_allclose(found[5, [170, 310]].astype(int), colors[5, [10, 150]], atol=1)


def test_overlay(step):
    """Grey, 0.7 * 100 + 0.3 * 255, where nothing moves; in the colour's tone where it does."""
    found = Overlay(Painter(120, 160, scale=6)).draw(step)
    np.testing.assert_allclose(found[60, 20], 146, atol=1)
    tone = flow_to_color(step.flow, max_magnitude=6)[60, 140] / 255
    np.testing.assert_allclose(found[60, 140], 146 * tone, atol=1)


def test_arrows_point_to_where_it_moves(step):
    before = step.first.image.copy()
    found = Arrows(Painter(120, 160, scale=6)).draw(step)
    np.testing.assert_array_equal(step.first.image, before)
    changed = (found != step.first.image).any(axis=-1)
    assert not changed[:, :80].any()  # arrows start at 12, 36, ..., 84, ... and go right
    starts = np.arange(84, 160, 24)
    assert changed[60, starts].all()
    assert changed[60, 84:120].all()  # 1.5 spaces of 24 pixels
    reds = (found[60] == (255, 0, 0)).all(axis=-1)
    assert reds[84:120].mean() > 0.8  # not lost in the outline


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e10, 1e8])
def test_arrows_of_unknown_or_large_flow(step, value):
    step.flow[60, 84] = value
    assert Arrows(Painter(120, 160, scale=6)).draw(step).shape == (120, 160, 3)


class Source:
    """Of 2 frames."""

    begin, rate, time_base = Fraction(0), Fraction(25), Fraction(1, 1000)


def test_a_gif_is_small_and_repeats(tmp_path):
    flow = np.full((601, 1001, 2), (3, 0), np.float32)
    image = np.zeros((601, 1001, 3), np.uint8)
    path = tmp_path / "flow.gif"
    view = Colors(Painter(601, 1001, scale=6), every=2)
    with Movie(path, view, Source, legend=True, threads=1).open(0) as write:
        for index in range(2):
            frame = Frame(str(index), Fraction(index, 25), image)
            write(FlowFrame(frame, frame, flow, index))
    assert b"NETSCAPE2.0\x03\x01\x00\x00" in path.read_bytes()  # for ever
    with VideoReader(path) as video:
        found = next(video).image
    assert found.shape == (288, 480, 3)
    expected = flow_to_color(flow[:1, :1], max_magnitude=6)[0, 0]
    np.testing.assert_allclose(found[20, 20].astype(int), expected, atol=6)
    assert (found[-20:, -40:] > 250).all(axis=-1).any()  # the legend


def test_pictures_have_a_legend(step, tmp_path):
    big = FlowFrame(step.first, step.second, np.zeros((240, 320, 2), np.float32), 0)
    view = Colors(Painter(240, 320, scale=6))
    with Pictures(tmp_path / "with", view, legend=True).open(0) as write:
        write(big)
    with Pictures(tmp_path / "without", view, legend=False).open(0) as write:
        write(big)
    assert (read_image(tmp_path / "without" / "a.png") >= 254).all()
    assert not (read_image(tmp_path / "with" / "a.png")[-60:, -60:] >= 254).all()
