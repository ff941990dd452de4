"""Operators that this package has a kernel for, in place of the standard ones in a model."""

from functools import cache
from pathlib import Path
from typing import Any

from engine.backends.onnx_graphs import OPERATORS
from engine.backends.openvino.runtime import core_of, version_of
from engine.errors import one_line

# Those that the library has.
_OPERATORS = ("quarter_pixels", "halve_images", "derivatives", "remaining_motion")
# What setup.py compiles.
_LIBRARY = Path(__file__).with_name("_operators.so")


def with_operators(openvino: Any, model: Any) -> tuple[Any, str]:
    """Put operators of this package in place of what a model has in their place, if they are here.

    Args:
        openvino: the module.
        model: the ``openvino.Model``, as read from ONNX; changed in place.

    Returns:
        The model, and why it was left as it is; empty: it was not, or has no such operators.

    Raises:
        ValueError: its metadata cannot be read.
        RuntimeError: its metadata do not fit it.
    """
    if not model.has_rt_info(["framework", OPERATORS]):
        return model, ""
    factory, fault = operators_of(openvino)
    if factory is None:
        return model, fault
    values = {
        name: output
        for node in model.get_ops()
        for output in node.outputs()
        for name in output.get_names()
    }
    for line in model.get_rt_info(["framework", OPERATORS]).astype(str).splitlines():
        if len(words := line.split()) < 2:
            raise ValueError(f"its metadata {OPERATORS!r} has a line of fewer than two words")
        name, *inputs, output = words
        # A pass or an update that is left out takes its tensors with it.
        if name in _OPERATORS and values.keys() >= {*inputs, output}:
            operator = factory.create(name, [values[one] for one in inputs])
            values[output].replace(operator.output(0))
            values[output] = operator.output(0)  # what the next one reads
    model.validate_nodes_and_infer_types()
    return model, ""


@cache
def operators_of(openvino: Any) -> tuple[Any | None, str]:
    """Return what creates the operators, or None and why there is none."""
    if not _LIBRARY.exists():
        return None, "they were not compiled when it was installed (docs/install.md)"
    try:
        from openvino.utils.node_factory import NodeFactory

        factory = NodeFactory()
        core_of(openvino).add_extension(str(_LIBRARY))
        factory.add_extension(str(_LIBRARY))
    except Exception as error:
        return None, f"openvino {version_of(openvino)} does not load them: {one_line(error)}"
    return factory, ""
