// A library for Python's `openvino.Core.add_extension`.

#include "kernels/openvino/operators.h"

OPENVINO_CREATE_EXTENSIONS(flow::operator_extensions());
