"""Latency and end-point error of every way to run the networks, measured in one run."""

import engine  # noqa: F401  # first: it handles Ctrl-C while the rest is imported
