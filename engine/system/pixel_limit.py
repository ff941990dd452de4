"""The largest picture or flow that is read; some bytes of a file may promise gigabytes."""

import os

from engine.errors import InputError

VARIABLE = "FLOWNET_ENGINE_MAX_PIXELS"
_DEFAULT = 1 << 25  # 8192x4096, a frame of an 8K video


def max_pixels() -> int:
    """Return the number of pixels in ``$FLOWNET_ENGINE_MAX_PIXELS``, by default 33554432.

    Raises:
        InputError: The variable is not a positive integer.
    """
    text = os.environ.get(VARIABLE, "")
    if not text:
        return _DEFAULT
    if not (text.isascii() and text.isdigit() and len(text) < 16 and int(text)):
        raise InputError(
            f"{VARIABLE} is {text!r:.40}; expected a number of pixels, e.g. {2 * _DEFAULT}. Set it "
            "or unset it."
        )
    return int(text)


def excess(height: int, width: int) -> str:
    """Return what is wrong with a size, or an empty string if so many pixels are read."""
    limit = max_pixels()
    if height * width <= limit:
        return ""
    return (
        f"has {height}x{width} pixels in its header; expected at most {limit} pixels. If you "
        f"trust the file, set {VARIABLE}={height * width}."
    )
