"""Forks: a child has none of its parent's threads, and leaves to it what needs them.

Destructors of the runtimes wait for their threads, in a forked child for ever. What belongs to the
parent is therefore never freed in the child, and opened again where the child needs it.
"""

import ctypes
import os
import weakref
from typing import Protocol


class Forked(Protocol):
    """What changes in a forked child."""

    def after_fork(self) -> None:
        """Adapt to a new process; called in the child before anything else runs there."""
        ...


_registered: "weakref.WeakSet[Forked]" = weakref.WeakSet()


def register(owner: Forked) -> None:
    """Call ``owner.after_fork`` in every forked child, as long as ``owner`` exists."""
    _registered.add(owner)


def leak(value: object) -> None:
    """Keep an object for the rest of the process; the end of the interpreter does not free it."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))


def _after_fork() -> None:
    for owner in list(_registered):
        owner.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
