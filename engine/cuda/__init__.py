"""CUDA: devices, arrays of other libraries and the flow array."""
