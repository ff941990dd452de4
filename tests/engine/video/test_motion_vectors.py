"""Global motion from a codec's vectors: hand-made vectors, and a real H.264 video."""

import gc
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.flow.affine import inverse, moved_points, translation
from engine.video.motion_vectors import MotionVectors, affine_of_vectors, rotated
from engine.video.reader import VideoReader
from tests.support.videos import panning, write_clip

HEIGHT, WIDTH, BLOCK = 96, 160, 16
FIELDS = [("source", "i4"), ("w", "u1"), ("h", "u1"), ("src_x", "i2"), ("src_y", "i2"),
          ("dst_x", "i2"), ("dst_y", "i2"), ("flags", "u8"), ("motion_x", "i4"),
          ("motion_y", "i4"), ("motion_scale", "u2")]  # fmt: skip
KEY, P, B = 1, 2, 3  # FFmpeg's numbers of the types I, P and B


def vectors_of(motion, source=-1):
    """The vectors of all blocks, in quarter pixels, as FFmpeg gives them: from a block to its past.

    The centre of the first block, between the pixels 7 and 8, is at 8.
    """
    rows, columns = np.mgrid[BLOCK // 2 : HEIGHT : BLOCK, BLOCK // 2 : WIDTH : BLOCK]
    vectors = np.zeros(rows.size, FIELDS)
    vectors["source"], vectors["w"], vectors["h"], vectors["motion_scale"] = source, BLOCK, BLOCK, 4
    vectors["dst_x"], vectors["dst_y"] = columns.ravel(), rows.ravel()
    centres = np.stack([columns.ravel(), rows.ravel()], axis=1) - 0.5
    back = np.rint(4 * (moved_points(inverse(motion), centres) - centres))
    vectors["motion_x"], vectors["motion_y"] = back.T
    return vectors


def frame_of(kind, vectors=None, rotation=0):
    return SimpleNamespace(
        pict_type=kind, vectors=vectors, height=HEIGHT, width=WIDTH, rotation=rotation
    )


def motions_of(frames, missing=None):
    """See and take every frame; the number of missing frames before each may be given."""
    track = MotionVectors()
    found = []
    for frame, lost in zip(frames, missing or [0] * len(frames), strict=True):
        track.see(frame, frame.vectors, missing=lost)
        motion = track.take()
        found.append(None if motion is None else motion.round(3).tolist())
    return found


def still(x, y):
    return translation(x, y).tolist()


def test_the_vectors_lead_back_in_time():
    """A block at (8, 8) that comes from (5, 8.5) has moved by (3, -0.5)."""
    vectors = vectors_of(translation(3, -0.5))
    assert (vectors["motion_x"][0], vectors["motion_y"][0]) == (-12, 2)
    found = affine_of_vectors(vectors, HEIGHT, WIDTH)
    np.testing.assert_allclose(found, translation(3, -0.5), atol=1e-6)


def test_zoom_and_rotation_within_the_rounding_of_the_vectors():
    motion = np.array([[1.05, -0.03, 2], [0.03, 1.05, -6]])
    found = affine_of_vectors(vectors_of(motion), HEIGHT, WIDTH)
    corners = np.array([[0.0, 0], [WIDTH, 0], [0, HEIGHT], [WIDTH, HEIGHT]])
    assert np.abs(moved_points(found, corners) - moved_points(motion, corners)).max() < 0.125


def test_vectors_of_later_frames_do_not_count():
    both = np.concatenate([vectors_of(translation(4, 0)), vectors_of(translation(-9, 0), source=1)])
    found = affine_of_vectors(both, HEIGHT, WIDTH)
    np.testing.assert_allclose(found, translation(4, 0), atol=1e-6)
    assert affine_of_vectors(both[both["source"] > 0], HEIGHT, WIDTH) is None


def test_too_few_vectors_and_impossible_motion_are_none():
    """5 of 60 blocks cover 8 % of the picture, 7 cover 12 %."""
    vectors = vectors_of(translation(4, 0))
    assert affine_of_vectors(vectors[::12], HEIGHT, WIDTH) is None
    assert affine_of_vectors(vectors[::9], HEIGHT, WIDTH) is not None
    collapsed = vectors_of(np.array([[0.3, 0, 0], [0, 0.3, 0]]))
    assert affine_of_vectors(collapsed, HEIGHT, WIDTH) is None


def test_each_frame_is_predicted_from_the_one_before():
    one, two = translation(4, 1), translation(5, 2)
    frames = [frame_of(KEY), frame_of(P, vectors_of(one)), frame_of(P, vectors_of(two))]
    assert motions_of(frames) == [None, still(4, 1), still(5, 2)]


def test_frames_between_are_predicted_from_several():
    """Shown: I, B, B, P. The second B comes from I (7 = 4 + 3 px), P from I too (9 px)."""
    frames = [frame_of(KEY)]
    frames += [frame_of(B, vectors_of(translation(x, 0))) for x in (4, 7)]
    frames += [frame_of(P, vectors_of(translation(9, 0)))]
    assert motions_of(frames) == [None, still(4, 0), still(3, 0), still(2, 0)]


def test_a_frame_between_may_be_predicted_from_another():
    """The second B comes from the first one: 5 px more, as before, not 1 px."""
    frames = [frame_of(KEY)]
    frames += [frame_of(B, vectors_of(translation(x, 0))) for x in (4, 5)]
    frames += [frame_of(P, vectors_of(translation(15, 0)))]
    assert motions_of(frames) == [None, still(4, 0), still(5, 0), still(6, 0)]


def test_without_motion_a_frame_between_is_unknown():
    """Vectors of zero may stand for blocks that follow another frame's vectors."""
    none = vectors_of(translation(0, 0))
    frames = [frame_of(KEY), frame_of(B, none), frame_of(P, none), frame_of(P, none)]
    assert motions_of(frames) == [None, None, None, still(0, 0)]


def test_without_vectors_of_a_frame_between_the_next_is_unknown():
    known = vectors_of(translation(4, 0))
    kinds = [(KEY, None), (B, None), (B, known), (P, known), (P, known), (KEY, None), (P, known)]
    found = motions_of([frame_of(*each) for each in kinds])
    assert found == [None, None, None, None, still(4, 0), None, still(4, 0)]


def test_a_missing_frame_is_no_reference():
    known = vectors_of(translation(4, 0))
    frames = [frame_of(KEY), *(frame_of(P, known) for _ in range(4))]
    found = motions_of(frames, missing=[0, 0, 1, 1, 1])
    assert found == [None, still(4, 0), None, still(4, 0), still(4, 0)]


def test_frames_that_are_left_out_are_composed():
    one, two = np.array([[1.25, 0, 3], [0, 1.25, 0]]), translation(8, 4)
    track = MotionVectors()
    for frame in (frame_of(KEY), frame_of(P, vectors_of(one)), frame_of(P, vectors_of(two))):
        track.see(frame, frame.vectors, missing=0)
    assert track.take() is None  # the motion before the first frame
    for _ in range(2):
        track.see(frame_of(P), vectors_of(two), missing=0)
    np.testing.assert_allclose(track.take(), translation(16, 8), atol=1e-6)


@given(st.integers(0, 3), st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1))
def test_rotated_motion_is_that_of_the_rotated_image(quarters, x, y):
    """Where `numpy.rot90` puts a pixel and the place that it moves to."""
    motion = np.array([[0, 1, 5], [1, 0, 3]], np.float64)  # exchanges x and y
    (moved,) = moved_points(motion, np.array([[x, y]], np.float64))
    ids = np.zeros((HEIGHT, WIDTH), int)
    ids[y, x] = 1
    row, column = np.argwhere(np.rot90(ids, quarters))[0]
    turned = rotated(motion, quarters, HEIGHT, WIDTH)
    (found,) = moved_points(turned, np.array([[column, row]], np.float64))
    # The place may be outside the image: the offset between pixels turns with it.
    step = np.array(moved) - (x, y)
    for _ in range(quarters):
        step = np.array([step[1], -step[0]])
    np.testing.assert_allclose(found, np.array([column, row]) + step, atol=1e-9)


def test_of_a_rotated_video_it_is_upright():
    """Turned counter-clockwise by 90 degrees, right becomes up."""
    known = vectors_of(translation(4, 1))
    frames = [frame_of(kind, data, rotation=90) for kind, data in ((KEY, None), (P, known))]
    assert motions_of(frames)[1] == still(1, -4)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """With frames of type B."""
    return write_clip(tmp_path_factory.mktemp("panning") / "clip.mp4", panning(13))


def test_a_real_video(clip):
    with VideoReader(clip, motion=True, threads=1) as reader:
        first, *rest = [frame.motion for frame in reader]
    assert first is None
    assert len(rest) == 12
    for motion in rest:
        np.testing.assert_allclose(motion, translation(6, -4), atol=0.05)


def test_decoded_frames_are_released(clip):
    """At once, not when the garbage collector comes: each has several megabytes."""
    gc.collect()
    gc.disable()
    try:
        with VideoReader(clip, motion=True, threads=1) as reader:
            assert len(list(reader)) == 13
        assert sum(isinstance(one, av.VideoFrame) for one in gc.get_objects()) <= 1
    finally:
        gc.enable()


def test_stride_and_start_compose(clip):
    with VideoReader(clip, motion=True, start=0.08, stride=3, threads=1) as reader:
        first, *rest = list(reader)
    assert (first.time, len(rest)) == (Fraction(2, 25), 3)
    for frame in rest:
        np.testing.assert_allclose(frame.motion, translation(18, -12), atol=0.2)


def test_only_on_demand(clip):
    with VideoReader(clip, threads=1) as reader:
        assert {frame.motion is None for frame in reader} == {True}
