"""Flows of a sequence in one Zarr group, compressed. Needs the extra ``store``."""
