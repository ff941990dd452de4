"""Data, networks and recipe: everything that turns image pairs into weights."""

import engine  # noqa: F401  # first: it handles Ctrl-C while the rest is imported
