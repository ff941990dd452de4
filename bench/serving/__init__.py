"""Load test of `flow serve`."""
