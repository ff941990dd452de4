"""Procedural image pairs with exact flow."""
