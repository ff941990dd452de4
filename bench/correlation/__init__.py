"""Benchmark of the correlation operator."""
