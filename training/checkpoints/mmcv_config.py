"""Facts in the configuration of mmflow's checkpoints.

mmcv stores the text of the configuration, Python source, as ``meta["config"]``; mmengine, which
followed it, as ``meta["cfg"]``. The text is searched, not executed:
https://github.com/open-mmlab/mmcv/blob/v1.7.1/mmcv/runner/hooks/checkpoint.py
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_LIST = r"[\[(]([^\])]{0,200})[\])]"
# As ``dict(name=value)`` and as ``{'name': value}``. mmengine's name is ``bgr_to_rgb``.
_PATTERNS = {
    "flow_div": re.compile(r"\bflow_div['\"]?\s{0,9}[=:]\s{0,9}([^,)}\s]{1,200})"),
    "to_rgb": re.compile(r"\b(?:bgr_)?to_rgb['\"]?\s{0,9}[=:]\s{0,9}(\w{1,200})"),
    "mean and std": re.compile(
        rf"\bmean['\"]?\s{{0,9}}[=:]\s{{0,9}}{_LIST}\s{{0,9}},\s{{0,99}}"
        rf"['\"]?std['\"]?\s{{0,9}}[=:]\s{{0,9}}{_LIST}"
    ),
}
# For pixels of 0 to 255: (x - mean) / std.
_NORMALISATIONS = {(0.0, 255.0): "zero_to_one", (127.5, 127.5): "minus_one_to_one"}


def settings(content: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each setting of a file's configuration, by its name, and where it is."""
    meta = content.get("meta")
    if not isinstance(meta, Mapping):
        return
    for name in ("config", "cfg"):
        text = meta.get(name)
        if not isinstance(text, str):
            continue
        for setting, pattern in _PATTERNS.items():
            for found in dict.fromkeys(pattern.findall(text)):
                value = found if isinstance(found, str) else " / ".join(found)
                yield f"meta.{name} ", {setting: value}


def color_of(to_rgb: object) -> str:
    """Return the order of the channels: mmcv reads BGR; ``ValueError`` for no truth value."""
    if to_rgb not in ("True", "False"):
        raise ValueError
    return "RGB" if to_rgb == "True" else "BGR"


def normalisation_of(mean_and_std: str) -> str:
    """Return the normalisation with means and standard deviations, "m, m, m / s, s, s".

    Raises:
        ValueError: they are not numbers, or of no known normalisation.
    """
    means, deviations = mean_and_std.split("/")
    pairs = zip(map(float, means.split(",")), map(float, deviations.split(",")), strict=True)
    (pair,) = set(pairs)  # ValueError for channels that differ
    if pair not in _NORMALISATIONS:
        raise ValueError
    return _NORMALISATIONS[pair]
