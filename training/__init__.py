"""Data, networks and recipe: everything that turns image pairs into weights."""
