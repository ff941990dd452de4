"""Checks of the arguments of ``engine.load`` and of ``FlowEngine``, other than images."""

import os
from collections.abc import Iterable, Mapping

import numpy as np

from engine.bundle.manifest import Manifest, SizeProfile
from engine.decorators.tiles import OVERLAP
from engine.errors import InputError, nearest
from engine.images import padded_size
from engine.system.threads import available_threads
from engine.types import ImageLike


def check_device(device: int) -> None:
    """Raise ``InputError`` unless ``device`` is an index of a GPU."""
    if type(device) is not int or device < 0:
        raise InputError(f"device is {device!r}; expected the index of a GPU, 0 or more.")


def check_threads(threads: int | None) -> None:
    """Raise ``InputError`` unless ``threads`` is a number of CPU threads or None.

    More than the process may use are allowed (its affinity may change), more than there are CPUs
    are not: each takes memory and slows down the others.
    """
    if threads is None:
        return
    if type(threads) is not int or threads < 1:
        raise InputError(f"threads is {threads!r}; expected a number from 1 up, or None for all.")
    if threads > (cpus := os.cpu_count() or threads):
        raise InputError(
            f"threads is {threads}, but this machine has {cpus} CPU(s); expected at most {cpus}. "
            f"Leave it out for the {available_threads()} that the process may use."
        )


def check_on_resize(on_resize: str) -> bool:
    """Return whether a frame of another size starts anew; ``InputError`` for an unknown word."""
    if on_resize not in ("error", "restart"):
        guess = nearest(on_resize, ("error", "restart")) if isinstance(on_resize, str) else ""
        raise InputError(f"on_resize is {on_resize!r}; expected 'error' or 'restart'.{guess}")
    return on_resize == "restart"


def check_streams(streams: int, threads: int) -> None:
    """Raise ``InputError`` unless ``streams`` is from 1 to the number of threads."""
    if type(streams) is not int or streams < 1:
        raise InputError(f"streams is {streams!r}; expected a number from 1 up.")
    if streams > threads:
        raise InputError(
            f"streams is {streams}, but there are {threads} CPU threads to share among them; "
            f"expected at most {threads}. Ask for fewer streams, or for more threads."
        )


def check_iterations(iterations: int | None, manifest: Manifest) -> None:
    """Raise ``InputError`` unless the bundle's network can do that many updates or passes."""
    if iterations is None:
        return
    if type(iterations) is not int or iterations < 1:
        raise InputError(
            f"iterations is {iterations!r}; expected a number of updates from 1 up, or None for "
            "the bundle's own."
        )
    if manifest.iterations is None:
        raise InputError(
            f"iterations is {iterations}, but {manifest.network} has no repeated updates, only "
            "RAFT and coarse-to-fine networks have; leave it out."
        )
    if manifest.passes is not None and iterations > manifest.passes:
        raise InputError(
            f"iterations is {iterations}; expected at most {manifest.passes}, the passes that this "
            f"bundle of {manifest.network} has. For more, build one with --iterations {iterations}."
        )


def check_refine(refine: str | None) -> None:
    """Raise ``InputError`` unless ``refine`` is a method of refinement, ``"none"`` or None."""
    if refine not in (None, "variational", "none"):
        raise InputError(
            f"refine is {refine!r}; expected 'variational' or 'none', or None for the bundle's own."
        )


def check_max_side(max_side: int | None) -> None:
    """Raise ``InputError`` unless ``max_side`` is a number of pixels or None."""
    if max_side is not None and (type(max_side) is not int or max_side < 1):
        raise InputError(
            f"max_side is {max_side!r}; expected a number of pixels from 1 up, for example 1280, "
            "or None to keep the size."
        )


def checked_tile(tile: int | tuple[int, int] | None, manifest: Manifest) -> tuple[int, int] | None:
    """Return height and width of a tile.

    Raises:
        InputError: They are no two numbers, no multiples of the network's divisor, or too small.
    """
    if tile is None:
        return None
    size = (tile, tile) if type(tile) is int else tile
    if not (type(size) is tuple and len(size) == 2 and all(type(side) is int for side in size)):
        raise InputError(
            f"tile is {tile!r}; expected its side or (height, width) in pixels, for example 512 or "
            "(512, 768), or None for no tiles."
        )
    height, width = size
    least = max(2 * OVERLAP, manifest.smallest)
    fitting = padded_size(height, width, manifest.divisor, least)
    if size != fitting:
        raise InputError(
            f"tile is {_by(size)}; {manifest.network} takes multiples of {manifest.divisor}, and "
            f"tiles of at least {least} overlap enough. Use {_by(fitting)}."
        )
    return height, width


def check_tile_fits(tile: tuple[int, int], profile: SizeProfile | None) -> None:
    """Raise ``InputError`` if a TensorRT plan does not accept tiles of this size."""
    if profile is None:
        return
    (_, *low), (_, *high) = profile.min, profile.max
    if any(not a <= side <= b for a, side, b in zip(low, tile, high, strict=True)):
        raise InputError(
            f"tile is {_by(tile)}; the plan's profile allows {_by(low)} to {_by(high)}. Use a tile "
            "within it, or rebuild the bundle with other --min-size and --max-size."
        )


def is_bgr(color: str) -> bool:
    """Return whether the channels are in the order BGR; ``InputError`` for an unknown order."""
    if color not in ("rgb", "bgr"):
        guess = nearest(color, ("rgb", "bgr")) if isinstance(color, str) else ""
        raise InputError(f"color is {color!r}; expected 'rgb' or 'bgr'.{guess}")
    return color == "bgr"


def check_directions(backward: bool, *, warm_start: bool, motions: bool) -> None:
    """Raise ``InputError`` if both directions are asked for with what is of one direction."""
    for name, given in (("warm_start", warm_start), ("motions", motions)):
        if backward and given:
            raise InputError(
                f"backward and {name} were given; {name} is of one direction. Leave one out, or "
                "stream the frames in reverse order for the backward flow."
            )


def check_is_iterable(source: object, name: str, items: str) -> None:
    """Raise ``InputError`` unless ``source`` is an iterable of images or of pairs of them."""
    if isinstance(source, str | os.PathLike):
        path = f"{os.fspath(source)!r:.60}"
        found = f"is a path ({path})"
        advice = (
            "Read them first, e.g. with engine.images.read_image or VideoReader of engine.video"
        )
    elif isinstance(source, bytes | bytearray | memoryview):
        found, advice = f"is {len(source)} bytes", "Decode them first"
    elif isinstance(source, Mapping):
        found, advice = f"is {type(source).__name__}", f"Pass its images, e.g. {name}.values()"
    elif isinstance(source, np.ndarray) and (source.ndim < 3 or _is_one_image(source.shape)):
        found = f"is one array of shape {source.shape}"
        advice = "Pass several, e.g. a list or an array (N, H, W, 3)"
    elif isinstance(source, Iterable) or hasattr(source, "__getitem__"):
        return
    else:
        found = f"is {'None' if source is None else type(source).__name__}"
        advice = "Pass a list, or a generator that reads one after the other"
    raise InputError(f"{name} {found}; expected an iterable of {items} (H, W, 3). {advice}.")


def _is_one_image(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[-1] in (1, 3, 4)


def pair_of(pair: tuple[ImageLike, ImageLike]) -> tuple[ImageLike, ImageLike]:
    """Return the two images of a pair; ``InputError`` if it has another number of items."""
    try:
        image1, image2 = pair
    except (TypeError, ValueError) as error:
        raise InputError(
            f"expected (image1, image2), not {type(pair).__name__}: {error}. For the flow of each "
            "frame of a video to the next, use stream."
        ) from None
    return image1, image2


def check_profile(
    profile: SizeProfile, shape: tuple[int, ...], size: tuple[int, int], network: str
) -> None:
    """Raise ``InputError`` if a TensorRT plan does not accept the images.

    Args:
        profile: sizes that the plan accepts.
        shape: shape of an image, (H, W, 3) or (N, H, W, 3).
        size: padded height and width.
        network: name of the network, for the message.
    """
    count = shape[0] if len(shape) == 4 else 1
    (fewest, *low), (most, *high) = profile.min, profile.max
    if not fewest <= count <= most:
        raise InputError(
            f"{network}: the batch has {count} pairs; the plan's profile allows {fewest} to "
            f"{most}. Split the batch or fill it up."
        )
    for limit, word, option, bound in (
        (high, "at most", "--max-size", max),
        (low, "at least", "--min-size", min),
    ):
        needed = [bound(pair) for pair in zip(size, limit, strict=True)]
        if needed != limit:
            raise InputError(
                f"{network}: image is {_by(shape[-3:-1])} (padded {_by(size)}); the plan's profile "
                f"allows {word} {_by(limit)}. Rebuild with {option} {_by(needed)}."
            )


def _by(size: Iterable[int]) -> str:
    return "x".join(map(str, size))
