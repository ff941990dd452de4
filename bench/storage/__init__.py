"""Size, error and time of ways to store flow."""
