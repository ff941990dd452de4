"""The correlation operator: one definition, several implementations.

For feature maps f1, f2 of shape (N, C, H, W), with displacements (dy, dx) from -max_displacement
to +max_displacement in steps of stride_2, row-major with dy slowest::

    out[n, k, y, x] = mean over c of f1[n, c, y, x] * f2[n, c, y + dy, x + dx],  zero outside f2

``reference`` is the specification (numpy, float64); ``correlation.h`` declares the C functions that
CMake builds from ``correlation_cpu*.cpp`` and ``correlation*.cu``; ``torch_op``, ``onnx_ops``
and ``tensorrt_plugin`` provide the operator in PyTorch, ONNX and TensorRT. Every implementation is
tested against ``reference`` on finite numbers: where a displaced pixel is outside f2, an
implementation may multiply f1 by zero, so that an infinity becomes NaN.
"""
