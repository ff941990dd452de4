"""Argument checks of the correlation, shared by all implementations.

The compiled ones have further limits on sizes and displacements, with messages of their own.
"""

from collections.abc import Sequence


class CorrelationError(ValueError):
    """The arguments of a correlation do not fit together."""


def displacement_count(max_displacement: int, stride_2: int) -> int:
    """Number of displacements along one axis; the output has its square as channels.

    Raises:
        CorrelationError: a value is out of range, or stride_2 does not divide max_displacement.
    """
    if stride_2 < 1 or max_displacement < 0:
        raise CorrelationError(
            f"correlation: max_displacement is {max_displacement} and stride_2 is {stride_2}; "
            "expected max_displacement >= 0 and stride_2 >= 1"
        )
    if max_displacement % stride_2:
        nearest = max_displacement - max_displacement % stride_2
        raise CorrelationError(
            f"correlation: max_displacement {max_displacement} is not a multiple of stride_2 "
            f"{stride_2}, so zero displacement would be missing; use {nearest} or "
            f"{nearest + stride_2}"
        )
    return 2 * (max_displacement // stride_2) + 1


def check_shapes(f1: Sequence[object], f2: Sequence[object]) -> None:
    """Refuse feature maps whose shapes do not belong together.

    Raises:
        CorrelationError: a rank is not 4, a size is 0, or batch, channels, height or width differ.
    """
    for name, shape in (("f1", f1), ("f2", f2)):
        if len(shape) != 4:
            raise CorrelationError(
                f"correlation: {name} has rank {len(shape)}, shape {tuple(shape)}; "
                "expected (N, C, H, W)"
            )
        if 0 in shape:
            raise CorrelationError(
                f"correlation: {name} is empty, its shape is {tuple(shape)}; expected sizes from 1"
            )
    for axis, name in enumerate(("batch size", "number of channels", "height", "width")):
        if f1[axis] != f2[axis]:
            raise CorrelationError(
                f"correlation: the {name} differs: f1 has {f1[axis]}, f2 has {f2[axis]}; "
                "expected two feature maps of one shape (N, C, H, W)"
            )
