"""Published PyTorch checkpoints: what they are, and their weights under the names used here."""
