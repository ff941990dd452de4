"""Backend decorators: what can be put around any backend, by options of ``engine.load``."""
