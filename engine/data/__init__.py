"""Pairs of images with true flow: what they are, where they come from, how they are read."""
