"""Global motion from the motion vectors that a video codec stores in the file.

H.264 and the codecs of MPEG predict each block from a place in another frame; FFmpeg hands these
vectors out (``flags2=+export_mvs``). It says whether that frame is earlier or later, not which one.
"""

from typing import TYPE_CHECKING

import numpy as np

from engine.flow.affine import (
    IDENTITY,
    Affine,
    composed,
    fit_affine,
    inverse,
    moved_points,
)
from engine.types import Array
from engine.video.container import import_av

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

# FFmpeg's options of a decoder for it.
DECODER_OPTIONS = {"flags2": "+export_mvs"}
# A fit needs vectors of at least this share of the picture.
_LEAST_COVER = 0.1
# and one that more than doubles or halves the picture is none of a camera.
_MOST_ZOOM = 2
_TYPES_B = 3, 7  # FFmpeg's AV_PICTURE_TYPE_B and AV_PICTURE_TYPE_BI


class MotionVectors:
    """The global motion of a video, from the vectors of its decoded frames.

    A frame of type P is predicted from the frame of type I or P before it; between the two, frames
    of type B may be shown, which are predicted from both, and from each other. The vectors to
    earlier frames of one frame therefore span one or more pairs of shown frames. Their number is
    the one whose motion per pair is nearest to that of the pair before.
    """

    def __init__(self) -> None:
        """Start before the first frame."""
        # Motion to the last frame from each frame that may predict the next one; None: unknown.
        self._references: list[Affine] | None = None
        self._last: Affine | None = None
        self._since_taken: Affine | None = None
        self._missing = 0

    def see(self, frame: "VideoFrame", vectors: Array | None, *, missing: int) -> None:
        """Use the vectors of the next frame; call it for every frame, in the order of their times.

        Args:
            frame: its type, size and rotation count.
            vectors: its `stored_vectors`.
            missing: number of frames so far that could not be decoded.
        """
        if missing > self._missing:
            self._missing, self._references = missing, None
        motion = self._motion(frame, vectors)
        if frame.pict_type not in _TYPES_B:
            self._references = [IDENTITY]
        elif self._references is None or motion is None:
            self._references = None
        else:
            self._references = [*(composed(motion, one) for one in self._references), IDENTITY]
        self._last = motion
        if motion is None or self._since_taken is None:
            self._since_taken = None
        else:
            upright = rotated(motion, round(frame.rotation / 90), frame.height, frame.width)
            self._since_taken = composed(upright, self._since_taken)

    def take(self) -> Affine | None:
        """Return the motion since the last call, in pixels of upright frames; None if unknown."""
        motion, self._since_taken = self._since_taken, IDENTITY
        return motion

    def _motion(self, frame: "VideoFrame", vectors: Array | None) -> Affine | None:
        """Return the motion from the frame before."""
        if vectors is None or self._references is None:
            return None
        if frame.pict_type in _TYPES_B:
            # Zero is also what FFmpeg gives for blocks without vectors of their own, which follow
            # another frame's: most of them in MPEG-4.
            vectors = vectors[(vectors["motion_x"] != 0) | (vectors["motion_y"] != 0)]
        height, width = frame.height, frame.width
        spanned = affine_of_vectors(vectors, height, width)
        if spanned is None:
            return None
        motions = [composed(spanned, inverse(reference)) for reference in self._references]
        if self._last is None:  # there is a single reference
            return motions[0]
        corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float64)
        expected = moved_points(self._last, corners)
        return min(motions, key=lambda one: np.abs(moved_points(one, corners) - expected).sum())


def stored_vectors(frame: "VideoFrame") -> Array | None:
    """Return the motion vectors of a frame decoded with `DECODER_OPTIONS`; None if it has none.

    Returns:
        A structured array with the fields of FFmpeg's ``AVMotionVector``.
    """
    # `frame.side_data` would make the frame refer to itself: its pixels would stay in memory until
    # the garbage collector comes, after 400 MB of a video of 1920x1080.
    container = import_av().sidedata.sidedata.SideDataContainer(frame)
    data = container.get("MOTION_VECTORS")
    return None if data is None else data.to_ndarray()


def affine_of_vectors(vectors: Array, height: int, width: int) -> Affine | None:
    """Return the motion from earlier frames that most vectors share; None if there is none.

    Args:
        vectors: structured array with the fields of FFmpeg's ``AVMotionVector``.
        height: of the frame.
        width: of the frame.
    """
    earlier = vectors[vectors["source"] < 0]
    cover = (earlier["w"].astype(np.int64) * earlier["h"]).sum()
    if cover < _LEAST_COVER * height * width:
        return None
    # A block of 16 pixels from 0 has its centre at 8 for FFmpeg, at 7.5 where pixels have theirs.
    moved = np.stack([earlier["dst_x"], earlier["dst_y"]], axis=1) - 0.5
    vector = np.stack([earlier["motion_x"], earlier["motion_y"]], axis=1)
    motion = fit_affine(moved + vector / earlier["motion_scale"][:, np.newaxis], moved)
    area = np.linalg.det(motion[:, :2])
    return motion if 1 / _MOST_ZOOM**2 < area < _MOST_ZOOM**2 else None


def rotated(motion: Affine, quarters: int, height: int, width: int) -> Affine:
    """Return a motion in pixels of the image turned counter-clockwise by quarters of a turn.

    Args:
        motion: in pixels of the image itself.
        quarters: as the second argument of ``numpy.rot90``.
        height: of the image before.
        width: of the image before.
    """
    turn = {
        0: [[1, 0, 0], [0, 1, 0]],
        1: [[0, 1, 0], [-1, 0, width - 1]],
        2: [[-1, 0, width - 1], [0, -1, height - 1]],
        3: [[0, -1, height - 1], [1, 0, 0]],
    }[quarters % 4]
    turned = np.array(turn, np.float64)
    return composed(composed(turned, motion), inverse(turned))
