"""A progress bar on terminals."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

T = TypeVar("T")

# Called after each step, with the text to show beside the bar from then on; None: the same text.
Advance = Callable[[str | None], None]


@contextmanager
def progress_bar(text: str, total: int | None, *, completed: int = 0) -> Iterator[Advance]:
    """Show a bar on stderr if that is a terminal and ``rich`` is installed, otherwise nothing.

    Args:
        text: shown beside the bar at first.
        total: number of steps; None if it is not known.
        completed: steps that are done already.
    """
    columns = _columns(counted=total is not None) if sys.stderr.isatty() else None
    if columns is None:
        yield lambda text: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        refresh_per_second=1,  # drawing takes time from what is measured
        redirect_stdout=sys.stdout.isatty(),  # lines for a file or pipe must get there
    ) as bar:
        task = bar.add_task(text, total=total, completed=completed)
        yield lambda text: bar.update(task, advance=1, description=text)


def track(items: Sequence[T], text: str) -> Iterator[T]:
    """Yield the items, with a bar that counts them."""
    with progress_bar(text, len(items)) as advance:
        for item in items:
            yield item
            advance(None)


def _columns(*, counted: bool) -> "list[ProgressColumn] | None":
    try:
        from rich import progress
    except ImportError:
        return None
    elapsed, described = progress.TimeElapsedColumn(), progress.TextColumn("{task.description}")
    if not counted:
        return [progress.SpinnerColumn(), elapsed, described]
    left = progress.TimeRemainingColumn()
    return [progress.BarColumn(), progress.MofNCompleteColumn(), elapsed, left, described]
