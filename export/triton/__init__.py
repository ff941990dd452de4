"""Model repositories of Triton Inference Server, from bundles."""
