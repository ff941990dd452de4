"""The measurement: plan, workers, interleaving and statistics."""
