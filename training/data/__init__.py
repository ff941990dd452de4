"""Data sets, streams of batches and augmentation."""
