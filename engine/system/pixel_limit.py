"""The largest picture or flow that is read; some bytes of a file may promise gigabytes."""

import os

from engine.errors import InputError

VARIABLE = "FLOWNET_ENGINE_MAX_PIXELS"
_DEFAULT = 1 << 25  # 8192x4096, a frame of an 8K video
_PLAUSIBLE = 1 << 32


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


def excess(height: int, width: int, pixel_bytes: int = 8) -> str:
    """Return what is wrong with a size, or an empty string if so many pixels are read.

    Args:
        height: in pixels.
        width: in pixels.
        pixel_bytes: a pixel of more than 8 bytes, a float32 flow, counts as several.
    """
    weight = max(1, pixel_bytes // 8)
    if height * width * weight <= max_pixels():
        return ""
    kind = f" of {pixel_bytes} bytes" if weight > 1 else ""
    advice = "Fetch or write it again."
    if height * width <= _PLAUSIBLE:
        advice = f"If you trust the file, set {VARIABLE}={height * width * weight}."
    return (
        f"has {height}x{width} pixels{kind} in its header; expected at most "
        f"{max_pixels() // weight}. {advice}"
    )
