"""What ``FlowEngine`` is given beside the images themselves, checked."""

import os
from collections.abc import Iterable

from numpy.typing import ArrayLike

from engine.bundle.manifest import SizeProfile
from engine.errors import InputError, nearest


def is_bgr(color: str) -> bool:
    """Return whether the channels come in reverse, or raise ``InputError``."""
    if color not in ("rgb", "bgr"):
        guess = nearest(color, ("rgb", "bgr")) if isinstance(color, str) else ""
        raise InputError(f"color is {color!r}; expected 'rgb' or 'bgr'.{guess}")
    return color == "bgr"


def check_is_no_path(source: object, name: str, items: str) -> None:
    """Raise ``InputError`` for the path of a video where its frames are expected."""
    if isinstance(source, str | bytes | os.PathLike):
        raise InputError(
            f"{name} is a path ({os.fspath(source)!r}); expected an iterable of {items} (H, W, 3). "
            "Read them first, e.g. with engine.images.read_image."
        )


def both_of(pair: tuple[ArrayLike, ArrayLike]) -> tuple[ArrayLike, ArrayLike]:
    """Return both images of a pair, or raise ``InputError`` if there are not two."""
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
    """Raise ``InputError`` if images are beyond the sizes that a plan was built for.

    Args:
        profile: those sizes.
        shape: of an image, (H, W, 3) or (N, H, W, 3).
        size: (height, width) that it is padded to.
        network: whose plan it is, for the message.
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
