"""The measurement: plan, workers, rounds and statistics."""
