"""Evaluation of a bundle on published data sets: options, run, checkpoint, table, page."""
