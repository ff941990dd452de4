"""The image pairs of a build: for verification, for calibration, for the gate of int8."""

import functools
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from engine.bundle.manifest import SizeProfile
from engine.data.files import read_pair, require_flows
from engine.data.pair import Pair, PairsError
from engine.data.sources import DEFAULT_DATA_SET, find_source, motorcycle, parse_source, spread
from engine.images import network_input, padded_size
from export.verify.noise import noise_within
from training.synthetic.render import SyntheticPairs

MAX_FROM_FOLDER = 64
# Quantisation changes the error of single pairs by 5 to 13 % of the mean (standard deviation over
# 160 pairs, a one-off measurement). The mean change has a standard error of 0.5 to 1.1 % over 128
# pairs and of 1.3 to 3 % over 16, too much for the gate's limit of 1 %. Larger pairs take longer:
# their number is smaller, and so it is for networks with more operations than FlowNetC: FlowNet2 is
# measured on 29 pairs of 384x512.
N_GATE = 16, 128  # at least, at most
GATE_PIXELS = 128 * 384 * 512
GATE_GFLOP = 128 * 45.0
# Calibration, likewise; of FlowNet2 on 8 pairs.
N_CALIBRATION = 8, 32
CALIBRATION_GFLOP = 32 * 51.0
# Far from the seeds of training (small, validation 2e9) and of the bench (3e9), and below 2**32:
# torch's CPU generator uses the low 32 bits of a seed.
CALIBRATION_SEED = 2_500_000_000
GATE_SEED = 3_500_000_000
# At 384x512 on a CPU, a batch of four takes 0.6 to 0.9 of the time of four batches of one.
_RENDERED_AT_ONCE = 4
# What is appended to the name, and the direction of rows and columns.
_MIRRORS = (("", 1, 1), (" mirrored", 1, -1), (" upside down", -1, 1), (" turned", -1, -1))


def pairs_within(profile: SizeProfile) -> tuple[Pair, ...]:
    """Return the pairs for verification, all of sizes that the profile allows.

    A real pair with ground truth, noise under a known shift, see `noise_within`, and a part of the
    real pair where the profile allows another size. The part comes last: OpenVINO computes the
    sizes after the second one with dynamic shapes, once wrongly (2026.4), in proportion to motion.
    """
    _, *smallest = profile.min
    _, *largest = profile.max
    real = motorcycle().batched()
    whole = _within(real, smallest, largest)
    part = _within(real, smallest, [3 * side // 4 for side in whole.size])
    return (whole, *noise_within(profile), *([part] if part.size != whole.size else []))


def calibration_pairs(
    source: str,
    size: tuple[int, int],
    divisor: int,
    gflop: float = 0.0,
    wanted: int | None = None,
) -> list[Pair]:
    """Return the pairs for int8 calibration, each a batch of one.

    Args:
        source: ``synthetic``, or a folder as in `find_source`, of which at most 64 pairs are
            used, evenly spread.
        size: (H, W) of synthetic pairs.
        divisor: of the network; the sides of each pair become multiples of it. A pair with both
            sides at least as long as the divisor is cropped to its centre, a smaller pair is padded
            with its last row and column.
        gflop: 1e9 operations of the network on a synthetic pair; the more, the fewer pairs.
        wanted: number of pairs, in place of these limits.

    Raises:
        PairsError: the folder, or a file in it, cannot be used.
    """
    if source == "synthetic":
        count = wanted or _affordable(N_CALIBRATION, CALIBRATION_GFLOP, gflop)
        pairs = _rendered(size, count, seed=CALIBRATION_SEED)
    else:
        files = spread(find_source(source), wanted or MAX_FROM_FOLDER)
        pairs = (read_pair(pair).batched() for pair in files)
    return [_in_multiples(pair, divisor) for pair in pairs]


def gate_pairs(
    sources: Sequence[str],
    profile: SizeProfile,
    divisor: int,
    gflop: float = 0.0,
    wanted: int | None = None,
) -> dict[str, list[Pair]]:
    """Return the sets of pairs with true flow for the gate, each pair a batch of one.

    Args:
        sources: ``motorcycle`` (that pair and its mirror images), ``synthetic`` (of the profile's
            opt size), or folders as in `find_source`, of each at most 64 pairs, evenly spread.
        profile: pairs larger than its max are cropped to it, at the bottom and on the right.
        divisor: of the network. The engine pads to a multiple of it; pairs that are then still
            smaller than the profile's min are padded here, with unknown flow.
        gflop: 1e9 operations of the network on a synthetic pair; the more, the fewer pairs.
        wanted: number of pairs of each set but ``motorcycle``, in place of these limits.

    Returns:
        The sets by name, in the order of the sources; a folder's name is its last path component.

    Raises:
        PairsError: two sets have the same name, a folder or a file in it cannot be used, or a pair
            has no true flow.
    """
    names = _set_names(sources)
    # All folders are checked before the first pair is rendered, which takes seconds.
    loaders = [_loader(source, profile, gflop, wanted) for source in sources]
    _, *largest = profile.max
    # The profile's min is a multiple of the divisor: the engine pads from here on.
    smallest = [side - divisor + 1 for side in profile.min[1:]]
    return {
        name: [_measurable(_within(pair, smallest, largest)) for pair in load()]
        for name, load in zip(names, loaders, strict=True)
    }


def name_of(source: str) -> str:
    """Return the name of a source of pairs: the word, the data set, or the folder's last part."""
    data_set, folder, pass_name = parse_source(source)
    if data_set != DEFAULT_DATA_SET:
        return f"{data_set} {pass_name}" if pass_name else data_set
    return os.path.basename(os.path.abspath(folder))


def described(name: str, pairs: Sequence[Pair]) -> str:
    """Return name, number and sizes of pairs, for instance ``chairs, 2 pairs of 384x512``.

    Of several sizes the smallest and the largest.
    """
    sizes = sorted({pair.size for pair in pairs}, key=lambda size: (math.prod(size), size))
    shown = " to ".join("{}x{}".format(*size) for size in dict.fromkeys((sizes[0], sizes[-1])))
    return f"{name}, {len(pairs)} pair{'s' if len(pairs) > 1 else ''} of {shown}"


def _set_names(sources: Iterable[str]) -> list[str]:
    names = [name_of(source) for source in sources]
    for name, count in Counter(names).items():
        if count > 1:
            raise PairsError(
                f"{count} sets of pairs are named {name}; expected different names, that of a "
                "folder being the last part of its path: leave one out or rename its folder"
            )
    return names


def _affordable(counts: tuple[int, int], budget: float, cost: float) -> int:
    """Return how many pairs of a cost the budget allows, within the least and the largest count."""
    fewest, most = counts
    return most if cost * most <= budget else max(fewest, int(budget / cost))


def _loader(
    source: str, profile: SizeProfile, gflop: float, wanted: int | None
) -> Callable[[], Iterable[Pair]]:
    """Check a source of the gate as far as possible without reading its pairs."""
    if source == "motorcycle":
        return lambda: _mirrored(motorcycle().batched())
    if source == "synthetic":
        _, height, width = profile.opt
        count = wanted or min(
            _affordable(N_GATE, GATE_PIXELS, height * width),
            _affordable(N_GATE, GATE_GFLOP, gflop),
        )
        return lambda: _rendered((height, width), count, seed=GATE_SEED)
    files = find_source(source)
    require_flows(files)
    return lambda: (read_pair(pair).batched() for pair in spread(files, wanted or MAX_FROM_FOLDER))


def _measurable(pair: Pair) -> Pair:
    if not pair.valid.any():
        raise PairsError(
            f"{pair.name}: its true flow is unknown at every pixel; expected some known "
            "pixels: leave the pair out or allow larger sizes"
        )
    return pair


def _in_multiples(pair: Pair, divisor: int) -> Pair:
    """Make both sides multiples of the divisor, see `calibration_pairs`."""
    height, width = pair.size
    if min(height, width) < divisor:
        return _placed(pair, (0, 0), (height, width), padded_size(height, width, divisor))
    rows, columns = height // divisor * divisor, width // divisor * divisor
    corner = (height - rows) // 2, (width - columns) // 2
    return _placed(pair, corner, (rows, columns), (rows, columns))


def _within(pair: Pair, smallest: Sequence[int], largest: Sequence[int]) -> Pair:
    """Crop to at most one (H, W) and pad to at least another, at the bottom and on the right."""
    height, width = pair.size
    kept = min(height, largest[0]), min(width, largest[1])
    return _placed(pair, (0, 0), kept, (max(kept[0], smallest[0]), max(kept[1], smallest[1])))


def _placed(
    pair: Pair, corner: tuple[int, int], kept: tuple[int, int], size: tuple[int, int]
) -> Pair:
    """Crop (H, W) pixels from a corner on and pad them to a size, which is appended to the name."""
    (top, left), (rows, columns), (height, width) = corner, kept, size
    window = np.s_[:, top : top + rows, left : left + columns]
    margin = ((0, 0), (0, height - rows), (0, width - columns), (0, 0))
    flow = np.pad(pair.flow[window], margin, constant_values=np.nan)
    image1, image2 = (network_input(image[window], size) for image in (pair.image1, pair.image2))
    return Pair(f"{pair.name} {height}x{width}", image1, image2, flow)


@functools.lru_cache(maxsize=1)
def _renderer(size: tuple[int, int]) -> SyntheticPairs:
    """Return the renderer of the last size again: drawing its textures takes seconds."""
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


def _mirrored(pair: Pair) -> Iterable[Pair]:
    """Yield the pair and its mirror images: the change of the error of one pair is chance."""
    for name, rows, columns in _MIRRORS:
        turned = np.s_[:, ::rows, ::columns]
        yield Pair(
            pair.name + name,
            np.ascontiguousarray(pair.image1[turned]),
            np.ascontiguousarray(pair.image2[turned]),
            pair.flow[turned] * np.array((columns, rows), np.float32),
        )
