"""The learning rate during a run, relative to its peak, by the name of the schedule."""

from collections.abc import Callable

WARMUP = 200  # steps
# FlowNet 2.0 (arXiv 1612.01925): S_long halves after 400, 600, 800 and 1000 of 1200 thousand steps.
_HALVED_AT = (1 / 3, 1 / 2, 2 / 3, 5 / 6)


def linear(step: int, share: float) -> float:
    """Linear warm-up, constant for the first third of the run, then linear to zero.

    The line approximates `s_long`.
    """
    return min(1.0, (step + 1) / WARMUP) * max(min(1.0, 1.5 * (1 - share)), 0.0)


def s_long(step: int, share: float) -> float:
    """Constant for the first third of the run, then halved four times, as in the papers."""
    return 0.5 ** sum(share >= limit for limit in _HALVED_AT)


def constant(step: int, share: float) -> float:
    """The same rate at each step."""
    return 1.0


# The arguments are the step, and the completed share of the run (0 to 1).
SCHEDULES: dict[str, Callable[[int, float], float]] = {
    "linear": linear,
    "s_long": s_long,
    "constant": constant,
}
