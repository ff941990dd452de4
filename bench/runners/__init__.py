"""What is measured: one runner per implementation."""
