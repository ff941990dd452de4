"""Latency and end-point error of every way to run the networks, measured in one run."""
