"""Measurements of the machine itself."""
