"""Image pairs that a build looks at: to verify on, to calibrate on, to measure its error on."""

import functools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import skimage.data

from engine.bundle.manifest import SizeProfile
from engine.images import network_input, padded_size
from export.verify.pair import GATE_SOURCES, Pair, noise_within
from export.verify.pair_folders import PairFiles, PairsError, files_of_pairs, read_pair, spread
from training.synthetic.render import SyntheticPairs

MAX_FROM_FOLDER = 64
N_CALIBRATION = 32
# Rounding changes the error of single pairs by 5 to 13 % of the mean (standard deviation, on sets
# of 160, by hand): the mean change of 128 is known to 0.5 to 1.1 %, of 16 to 1.3 to 3 %, where the
# gate's 1 % falls as a coin does. Of larger pairs, which take longer, there are fewer.
GATE_PIXELS = 128 * 384 * 512
N_GATE = 16, 128  # at least, at most
# Far from training's seeds (small ones, 2e9 to validate) and the bench's (3e9), and below 2**32:
# of a seed torch's CPU generator takes the low 32 bits.
CALIBRATION_SEED = 2_500_000_000
GATE_SEED = 3_500_000_000
# At 384x512 four pairs in one go take 0.6 to 0.9 of the time of four by themselves, on a CPU.
_RENDERED_AT_ONCE = 4
# What joins the name, and the direction of rows and columns.
_MIRRORS = (("", 1, 1), (" mirrored", 1, -1), (" upside down", -1, 1), (" turned", -1, -1))


def pairs_within(profile: SizeProfile) -> tuple[Pair, ...]:
    """Return the pairs to verify on, all of sizes that the profile allows.

    A real pair with ground truth, and smooth noise under a known shift, `noise_within`.
    """
    _, *smallest = profile.min
    _, *largest = profile.max
    return (_within(_motorcycle(), smallest, largest), *noise_within(profile))


def calibration_pairs(source: str, size: tuple[int, int], divisor: int) -> list[Pair]:
    """Return pairs of batch 1 to calibrate INT8 on, all of sizes that the graph takes as they are.

    Args:
        source: ``synthetic``, or a folder as in `files_of_pairs`, of which at most 64 pairs are
            taken, evenly spread.
        size: (H, W) of synthetic pairs.
        divisor: of the network. Each pair keeps its own size but for this: where both sides hold
            at least one divisor, its middle is cut out, of the largest size that is a multiple;
            a smaller pair is padded to the next multiple with its last row and column.

    Raises:
        PairsError: the folder, or a file in it, cannot be used.
    """
    if source == "synthetic":
        pairs = _rendered(size, N_CALIBRATION, seed=CALIBRATION_SEED)
    else:
        pairs = map(_from_files, spread(files_of_pairs(Path(source)), MAX_FROM_FOLDER))
    return [_in_multiples(pair, divisor) for pair in pairs]


def gate_pairs(sources: Sequence[str], profile: SizeProfile, divisor: int) -> dict[str, list[Pair]]:
    """Return sets of pairs of batch 1 with true flow, to measure a build's end-point error on.

    Args:
        sources: ``motorcycle`` (that pair and its mirror images), ``synthetic`` (at the profile's
            opt size), or folders as in `files_of_pairs`, at most 64 pairs of each, evenly spread.
        profile: pairs larger than its max are cropped to it, at the bottom and on the right.
        divisor: of the network. The engine pads to a multiple of it; pairs that are too small for
            the profile even then are padded here, with flow that is unknown.

    Returns:
        The sets by name, in the order of the sources; a folder's is its last path component.

    Raises:
        PairsError: two sets of one name, a folder or a file in it cannot be used, or a pair has no
            true flow.
    """
    names = _set_names(sources)
    # All folders are looked through before the first pair is rendered, which takes seconds.
    loaders = [_loader(source, profile) for source in sources]
    _, *largest = profile.max
    # The minimum is a multiple of the divisor, which the engine's own padding reaches from here on.
    smallest = [side - divisor + 1 for side in profile.min[1:]]
    return {
        name: [_measurable(_within(pair, smallest, largest)) for pair in load()]
        for name, load in zip(names, loaders, strict=True)
    }


def name_of(source: str) -> str:
    """Return what a source of pairs is called: a word, or a folder's last path component."""
    return source if source in GATE_SOURCES else os.path.basename(os.path.abspath(source))


def described(name: str, pairs: Sequence[object]) -> str:
    """Say which pairs and how many, for instance ``motorcycle, 1 pair``."""
    return f"{name}, {len(pairs)} pair{'s' if len(pairs) > 1 else ''}"


def _set_names(sources: Iterable[str]) -> list[str]:
    names = [name_of(source) for source in sources]
    for name, count in Counter(names).items():
        if count > 1:
            raise PairsError(
                f"{count} sets of pairs are named {name}; expected different names, the last part "
                "of a folder's path being its name: leave one out or rename its folder"
            )
    return names


def _loader(source: str, profile: SizeProfile) -> Callable[[], Iterable[Pair]]:
    """Check what can be checked of a gate's source at once; the rest when it is called."""
    if source == "motorcycle":
        return lambda: _mirrored(_motorcycle())
    if source == "synthetic":
        _, height, width = profile.opt
        fewest, most = N_GATE
        count = max(fewest, min(most, GATE_PIXELS // (height * width)))
        return lambda: _rendered((height, width), count, seed=GATE_SEED)
    files = files_of_pairs(Path(source))
    for pair in files:
        if not pair.flow.is_file():
            raise PairsError(
                f"{pair.image1} has no true flow; expected {pair.flow.name} beside it: add it or "
                "leave the pair out"
            )
    return lambda: map(_from_files, spread(files, MAX_FROM_FOLDER))


def _from_files(files: PairFiles) -> Pair:
    image1, image2, flow = read_pair(files)
    return Pair(files.name, image1[None], image2[None], None if flow is None else flow[None])


def _measurable(pair: Pair) -> Pair:
    if pair.flow is None or np.isnan(pair.flow).all():
        raise PairsError(
            f"{pair.name}: its true flow is unknown at every pixel; expected some that can be "
            "measured on: leave the pair out or allow larger sizes"
        )
    return pair


def _in_multiples(pair: Pair, divisor: int) -> Pair:
    """Make both sides multiples of the divisor, see `calibration_pairs`."""
    height, width = pair.image1.shape[1:3]
    if min(height, width) < divisor:
        return _placed(pair, (0, 0), (height, width), padded_size(height, width, divisor))
    rows, columns = height // divisor * divisor, width // divisor * divisor
    corner = (height - rows) // 2, (width - columns) // 2
    return _placed(pair, corner, (rows, columns), (rows, columns))


def _within(pair: Pair, smallest: Sequence[int], largest: Sequence[int]) -> Pair:
    """Crop to at most one (H, W) and pad to at least another, at the bottom and on the right."""
    height, width = pair.image1.shape[1:3]
    kept = min(height, largest[0]), min(width, largest[1])
    return _placed(pair, (0, 0), kept, (max(kept[0], smallest[0]), max(kept[1], smallest[1])))


def _placed(
    pair: Pair, corner: tuple[int, int], kept: tuple[int, int], size: tuple[int, int]
) -> Pair:
    """Keep (H, W) pixels from a corner on and pad them to a size, which joins the name."""
    (top, left), (rows, columns), (height, width) = corner, kept, size
    window = np.s_[:, top : top + rows, left : left + columns]
    flow = pair.flow
    if flow is not None:
        margin = ((0, 0), (0, height - rows), (0, width - columns), (0, 0))
        flow = np.pad(flow[window], margin, constant_values=np.nan)
    image1, image2 = (network_input(image[window], size) for image in (pair.image1, pair.image2))
    return Pair(f"{pair.name} {height}x{width}", image1, image2, flow)


@functools.lru_cache(maxsize=1)
def _renderer(size: tuple[int, int]) -> SyntheticPairs:
    """Drawing its textures takes seconds; calibration and gate render at one size."""
    return SyntheticPairs(*size)


def _rendered(size: tuple[int, int], count: int, *, seed: int) -> Iterable[Pair]:
    for batch, first in enumerate(range(0, count, _RENDERED_AT_ONCE)):
        together = min(_RENDERED_AT_ONCE, count - first)
        pairs = _renderer(size).render(together, seed + batch)
        planes = (pairs.image1, pairs.image2, pairs.flow)
        image1, image2, flow = (x.permute(0, 2, 3, 1).contiguous().numpy() for x in planes)
        for i in range(together):
            one = np.s_[i : i + 1]
            yield Pair(f"synthetic {first + i}", image1[one], image2[one], flow[one])


def _motorcycle() -> Pair:
    """Scikit-image's Motorcycle pair (Middlebury 2014 stereo): flow is (-disparity, 0)."""
    left, right, disparity = skimage.data.stereo_motorcycle()
    known = np.where(np.isfinite(disparity), disparity, np.nan)
    flow = np.stack((-known, np.zeros_like(known)), axis=-1).astype(np.float32)
    return Pair("motorcycle", left[None], right[None], flow[None])


def _mirrored(pair: Pair) -> Iterable[Pair]:
    """Yield the pair in four ways: by how much int8 changes one alone is chance."""
    assert pair.flow is not None
    for name, rows, columns in _MIRRORS:
        turned = np.s_[:, ::rows, ::columns]
        yield Pair(
            pair.name + name,
            np.ascontiguousarray(pair.image1[turned]),
            np.ascontiguousarray(pair.image2[turned]),
            pair.flow[turned] * np.array((columns, rows), np.float32),
        )
