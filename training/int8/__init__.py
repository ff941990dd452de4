"""INT8-aware training."""
