"""Search for patches of the first image in the second one, from a flow that is known roughly.

A network that reads small images misses what is thin or fast. Patches of the whole resolution find
it: each descends to where the images differ least (the inverse search of Kroeger et al., "Fast
Optical Flow using Dense Inverse Search", ECCV 2016), and takes its neighbours' motion where that
fits better (PatchMatch, Barnes et al., SIGGRAPH 2009), along rows and along columns. The search
begins at a quarter of the resolution, and goes on to finer ones where it has found an improvement.
In the end a match replaces the flow only where it is much better, where the patch has gradients in
all directions, and where its neighbours move alike; elsewhere, as on repeated or occluded texture,
the flow stays.

``kernels/patch_search.cpp`` is the same in C++, ``engine/web/page/patches.js`` in JavaScript.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from operator import add
from typing import Final, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from engine.types import Array

SIDE: Final = 8  # pixels of a patch
STRIDE: Final = 4  # pixels from one patch to the next
# Chosen on 26 pairs of public data sets (docs/experiments.md).
STEPS: Final = 3  # of descent, after each look at a neighbour
LONGEST_STEP: Final = 2  # pixels along x and along y
SHORTEST_STEP: Final = np.float32(0.2)  # pixels along both: a shorter one is not made
APART: Final = np.float32(1.0)  # pixels: a neighbour that moves less differently is not tried
NOISE: Final = 1  # squared grey levels: a difference of that is none
# A match is better if its squared difference is below this share of the flow's, and accepted if it
# is below this one of the patch's variance, too.
BETTER: Final = np.float32(0.7)
ALIKE: Final = np.float32(0.5)
ROUNDNESS: Final = np.float32(0.1)  # Foerstner's, 0 for an edge: less is not searched
AGREE: Final = np.float32(1.5)  # pixels: neighbours that move less differently support a match
SUPPORT: Final = 3  # neighbours of eight that it takes
MOVED: Final = np.float32(0.25)  # pixels: a match that moves less differently is no improvement
_PIXELS = SIDE**2
MARGIN = SIDE + 1

_Mask = NDArray[np.bool_]
_Places = tuple[NDArray[np.intp], NDArray[np.intp]]  # rows and columns of patches


class _Match(NamedTuple):
    """Where patches lead, and how the images differ there; an array of each.

    Attributes:
        x: motion in pixels.
        y: likewise.
        squared: sum of the squared differences, less their mean.
        along_x: sum of the differences times twice the derivatives along x, likewise.
        along_y: along y.
    """

    x: Array
    y: Array
    squared: Array
    along_x: Array
    along_y: Array


class _Patches(NamedTuple):
    """The patches of a pair at one resolution: what does not depend on their motion.

    Attributes:
        first: the first image in grey, with a margin.
        second: the second image, likewise.
        size: height and width without it.
        sum_x: sum of twice the derivatives along x of each patch, (rows, columns).
        sum_y: along y.
        xx: sum of their products along x and along x, less that of their means; and so on.
        xy: as said.
        yy: as said.
        variance: sum of the squared pixels, less their mean.
    """

    first: Array
    second: Array
    size: tuple[int, int]
    sum_x: Array
    sum_y: Array
    xx: Array
    xy: Array
    yy: Array
    variance: Array


@dataclass
class _Search:
    """What is known of the patches, (rows, columns) of each value."""

    patches: _Patches
    given: _Match  # of the flow
    best: _Match
    searched: _Mask
    settled: _Mask  # descent goes no further


def changes(firsts: Sequence[Array], seconds: Sequence[Array], flow: Array) -> Array:
    """Return how much the search changes a flow, (2, H, W) in pixels.

    Args:
        firsts: the first image in grey, 0 to 255, (H, W) float32; then at half of the resolution,
            and so on.
        seconds: the second image, likewise.
        flow: (2, H, W) float32 in pixels, x then y.
    """
    coarser = None
    for halvings in reversed(range(len(firsts))):
        described = _described(firsts[halvings], seconds[halvings])
        search = _begun(described, flow, halvings, coarser)
        rows, columns = search.searched.shape
        every_row, every_column = np.arange(rows), np.arange(columns)
        _along([(every_row, np.full(rows, at)) for at in range(columns)], search)
        _along([(np.full(columns, at), every_column) for at in range(rows)], search)
        coarser = search
    assert coarser is not None
    return _interpolated(_change(coarser), *flow.shape[1:])


def _described(first: Array, second: Array) -> _Patches:
    rows, columns = (max(-(-length // STRIDE), 2) - 1 for length in first.shape)
    one, two = (np.pad(image, MARGIN, mode="edge") for image in (first, second))
    own, along_x, along_y = _pixels(one, _all_places(rows, columns))
    sums = sum_x, sum_y = _total(along_x), _total(along_y)
    xx, xy, yy = (
        _total(left * right) - sums[i] * sums[j] / _PIXELS
        for left, right, i, j in (
            (along_x, along_x, 0, 0),
            (along_x, along_y, 0, 1),
            (along_y, along_y, 1, 1),
        )
    )
    variance = _total(own * own) - _total(own) * _total(own) / _PIXELS
    height, width = first.shape
    return _Patches(one, two, (height, width), sum_x, sum_y, xx, xy, yy, variance)


def _begun(patches: _Patches, flow: Array, halvings: int, coarser: _Search | None) -> _Search:
    """Begin with the flow in the middle of the patches, or with what half the resolution found."""
    places = _all_places(*patches.xx.shape)
    y, x = (
        np.minimum((STRIDE * (place + 1)) << halvings, length - 1)
        for place, length in zip(places, flow.shape[1:], strict=True)
    )
    motion = flow[:, y, x] * np.float32(2.0**-halvings)
    searched = np.isfinite(motion[0]) & np.isfinite(motion[1])
    motion = np.where(searched, motion, np.float32(0))
    given = _matched(patches, places, motion[0], motion[1])
    row, column = ((place + 1) // 2 for place in places)
    if coarser is not None:
        row, column = (
            np.minimum(place, count)
            for place, count in zip((row, column), coarser.searched.shape, strict=True)
        )
        searched &= _around(_is_improved(coarser), np.logical_or)[row, column]
        # Nearly that of the others, which is not computed.
        least = _around(coarser.given.squared, np.minimum, np.inf)[row, column]
        given = given._replace(squared=np.where(searched, given.squared, least))
    if halvings == 0:  # only what can be accepted
        searched &= _is_round(patches) & (_most_squared(given) > 0)
    best = _Match(*(values.copy() for values in given))
    search = _Search(patches, given, best, searched, np.zeros_like(searched))
    if coarser is not None:
        start = 2 * _found(coarser)[:, row, column]
        tried = _matched(patches, places, start[0], start[1])
        _set_best(search, places, searched & (tried.squared < given.squared), tried)
    return search


def _along(lines: list[_Places], search: _Search) -> None:
    """Let matches spread from one line to the next, to the end and back; improve each."""
    for order in (lines, lines[::-1]):
        _descend(search, order[0])
        for before, places in pairwise(order):
            _look(search, places, before)
            _descend(search, places)


def _look(search: _Search, places: _Places, before: _Places) -> None:
    """Take the motion of the patches before where it fits better."""
    own, other = (_Match(*(values[at] for values in search.best)) for at in (places, before))
    apart = np.abs(other.x - own.x) + np.abs(other.y - own.y)
    tried = _matched(search.patches, places, other.x, other.y)
    better = search.searched[places] & (apart > APART) & (tried.squared < own.squared)
    _set_best(search, places, better, tried)
    search.settled[places] &= ~better


def _descend(search: _Search, places: _Places) -> None:
    """Improve matches by steps of inverse compositional descent, as far as they do."""
    of = search.patches
    xx, xy, yy = of.xx[places], of.xy[places], of.yy[places]
    damping = 4 + np.float32(0.001) * (xx + yy)
    xx, yy = xx + damping, yy + damping
    factor = 2 / (xx * yy - xy * xy)
    for _ in range(STEPS):
        own = _Match(*(values[places] for values in search.best))
        x = (yy * own.along_x - xy * own.along_y) * factor
        y = (xx * own.along_y - xy * own.along_x) * factor
        active = search.searched[places] & ~search.settled[places]
        made = active & (np.abs(x) + np.abs(y) >= SHORTEST_STEP)
        x, y = (np.clip(step, -LONGEST_STEP, LONGEST_STEP) for step in (x, y))
        tried = _matched(of, places, own.x - x, own.y - y)
        better = made & (tried.squared < own.squared)
        _set_best(search, places, better, tried)
        search.settled[places] |= active & ~better


def _set_best(search: _Search, places: _Places, chosen: _Mask, match: _Match) -> None:
    at = tuple(place[chosen] for place in places)
    for values, new in zip(search.best, match, strict=True):
        values[at] = new[chosen]


def _all_places(rows: int, columns: int) -> _Places:
    row, column = np.indices((rows, columns))
    return row, column


def _pixels(image: Array, places: _Places) -> tuple[Array, Array, Array]:
    """Return the pixels of patches, (..., 8, 8), and twice their derivatives along x and y.

    Args:
        image: with a margin.
        places: as said.
    """
    windows = sliding_window_view(image, (SIDE + 2, SIDE + 2))
    around = windows[tuple(STRIDE * place + MARGIN - 1 for place in places)]
    along_x = around[..., 1:-1, 2:] - around[..., 1:-1, :-2]
    along_y = around[..., 2:, 1:-1] - around[..., :-2, 1:-1]
    return around[..., 1:-1, 1:-1], along_x, along_y


def _matched(patches: _Patches, places: _Places, x: Array, y: Array) -> _Match:
    """Return how the images differ where patches move by (x, y), which are numbers."""
    own, along_x, along_y = _pixels(patches.first, places)
    starts, shares = [], []
    for place, motion, length in zip(places, (y, x), patches.size, strict=True):
        # A patch that leads out of the image stays beside it, on the margin.
        to = np.clip(place * np.float32(STRIDE) + motion, -SIDE, length).astype(np.float32)
        start = (to + SIDE).astype(np.intp) - SIDE
        starts.append(start + MARGIN)
        shares.append((to - start.astype(np.float32))[..., np.newaxis, np.newaxis])
    around = sliding_window_view(patches.second, (SIDE + 1, SIDE + 1))[tuple(starts)]
    lines = around[..., :-1] + shares[1] * (around[..., 1:] - around[..., :-1])
    moved = lines[..., :-1, :] + shares[0] * (lines[..., 1:, :] - lines[..., :-1, :])
    difference = moved - own
    sums = _total(difference)
    mean = sums / _PIXELS
    return _Match(
        x,
        y,
        np.maximum(_total(difference * difference) - sums * mean, 0),
        _total(difference * along_x) - patches.sum_x[places] * mean,
        _total(difference * along_y) - patches.sum_y[places] * mean,
    )


def _total(values: Array) -> Array:
    """Return the sums of patches, (..., 8, 8), in the order of the kernel."""
    row: Array = reduce(add, (values[..., index, :] for index in range(SIDE)))
    half = row[..., :4] + row[..., 4:]
    total: Array = (half[..., 0] + half[..., 1]) + (half[..., 2] + half[..., 3])
    return total


def _is_round(of: _Patches) -> _Mask:
    trace = of.xx + of.yy
    found: _Mask = 4 * (of.xx * of.yy - of.xy * of.xy) >= ROUNDNESS * trace * trace
    return found


def _is_improved(search: _Search) -> _Mask:
    """Return whether matches are better than the given flow, and not only more exact."""
    best, given = search.best, search.given
    moved = np.abs(best.x - given.x) + np.abs(best.y - given.y)
    improved: _Mask = (best.squared < BETTER * given.squared) & (moved > MOVED)
    return improved


def _most_squared(given: _Match) -> Array:
    """Return what a match must stay below to be accepted."""
    return BETTER * given.squared - NOISE * _PIXELS


def _weight(squared: Array) -> Array:
    """Return how much a match counts: the less, the more its pixels differ."""
    return 1 / np.maximum(1, np.sqrt(squared / _PIXELS))


def _found(search: _Search) -> Array:
    """Return the motion of each 4x4 pixels, (2, rows + 1, columns + 1)."""
    weight = _weight(search.best.squared)
    sums = [_around(weight * motion) for motion in (search.best.x, search.best.y)]
    return np.stack(sums) / _around(weight)


def _change(search: _Search) -> Array:
    """Return how much the accepted matches change the flow of each 4x4 pixels, as `_found`."""
    accepted = _accepted(search)
    weight = _weight(np.where(accepted, search.best.squared, search.given.squared))
    moved = [new - old for new, old in zip(search.best[:2], search.given[:2], strict=True)]
    sums = [_around(np.where(accepted, weight * by, 0)) for by in moved]
    return np.stack(sums) / _around(weight)


def _accepted(search: _Search) -> _Mask:
    best = search.best
    fits = search.searched & (best.squared < _most_squared(search.given))
    fits &= best.squared < ALIKE * search.patches.variance + NOISE * _PIXELS
    # Beyond the border nothing fits.
    x, y = (np.pad(values, 1) for values in best[:2])
    around = np.pad(fits, 1)
    support = np.zeros(fits.shape, int)
    rows, columns = fits.shape
    for row in range(3):
        for column in range(3):
            at = slice(row, row + rows), slice(column, column + columns)
            by_x, by_y = x[at] - best.x, y[at] - best.y
            support += around[at] & (by_x * by_x + by_y * by_y < AGREE * AGREE)
    accepted: _Mask = fits & (support - 1 >= SUPPORT)  # without itself
    return accepted


def _around(values: Array, combine: np.ufunc = np.add, beyond: float = 0.0) -> Array:
    """Return what the up to four patches over each 4x4 pixels combine to, their sum by default."""
    padded = np.pad(values, 1, constant_values=beyond)
    upper, lower = padded[:-1], padded[1:]
    patches = upper[:, :-1], upper[:, 1:], lower[:, :-1], lower[:, 1:]
    combined: Array = reduce(combine, patches)
    return combined


def _interpolated(values: Array, height: int, width: int) -> Array:
    """Return one of four times the resolution along both axes, (2, height, width), bilinear."""
    for length in (height, width):
        padded = np.pad(values, ((0, 0), (1, 1), (0, 0)), mode="edge")
        near, far = padded[:, :-1], padded[:, 1:]
        shares = (2 * np.arange(4, dtype=np.float32) + 1)[:, np.newaxis] / 8
        between = near[:, :, np.newaxis] + shares * (far - near)[:, :, np.newaxis]
        finer = between.reshape(2, -1, values.shape[2])
        values = finer[:, 2 : 2 + length].transpose(0, 2, 1)
    return values
