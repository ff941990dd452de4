"""The machine: CPU, threads, files and the cache."""
