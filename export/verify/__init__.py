"""Verification of built bundles."""
