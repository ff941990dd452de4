"""Quantised graphs: computed in int8 where that is right and fast, else in float32."""

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from engine.errors import HardwareMissingError
from engine.system.cpu import (
    SAFE_INT8_WEIGHT,
    Int8Instructions,
    amx_fault,
    cpu_model,
    int8_instructions,
    is_arm,
    vnni_fault,
)

# Operations that are faster in float32 than in int8, by what the CPU computes int8 with.
_FASTER_IN_FLOAT: dict[Int8Instructions, tuple[str, ...]] = {"AVX2": ("ConvolutionBackpropData",)}


def for_this_cpu(model: Any) -> tuple[Any, str]:
    """Prepare a model for the CPU, in place; return it, and what it computes in.

    What decides is the graph itself, whatever its bundle's manifest says.

    Args:
        model: the ``openvino.Model``, as read from ONNX.

    Raises:
        HardwareMissingError: the CPU would compute the graph wrongly.
    """
    largest = largest_weight(model)
    if largest == 0:
        return model, "float32"
    instructions = int8_instructions()
    if instructions is None:
        return without_rounding(model), f"float32: {_why_not_int8()}"
    fault = vnni_fault() if largest > SAFE_INT8_WEIGHT else None
    if fault := fault or amx_fault():
        raise HardwareMissingError(
            f"backend openvino cannot run an int8 bundle: {fault}. Use backend onnxruntime, which "
            "computes the same bundle in float, or build the bundle again: weights now have 7 "
            "bits, which do not saturate"
        )
    if readers := _FASTER_IN_FLOAT.get(instructions):
        model = without_rounding(model, readers)
        return model, f"int8, with {instructions} (transposed convolutions in float32)"
    return model, f"int8, with {instructions}"


def _why_not_int8() -> str:
    # OpenVINO 2026.4.1 under emulation: five times the end-point error (docs/int8.md).
    if is_arm():
        return "OpenVINO computes int8 wrongly on Arm"
    return f"int8 was not measured on {cpu_model()}"


def largest_weight(model: Any) -> int:
    """Return the largest magnitude of the model's quantised weights; 0: nothing is quantised."""
    return max((int(np.abs(codes).max()) for codes in _weight_codes(model)), default=0)


def _weight_codes(model: Any) -> Iterator[Any]:
    for node in model.get_ops():
        if node.get_type_name() == "Constant" and node.get_element_type().get_type_name() == "i8":
            yield node.data.astype(np.int16)  # the magnitude of -128 is no int8


def without_rounding(model: Any, readers: Collection[str] | None = None) -> Any:
    """Remove the quantisation of activations from a model, in place, and return the model.

    What is left computes in float32, with the weights that the int8 codes stand for.

    Args:
        model: the ``openvino.Model``.
        readers: types of the operations to leave in float32; None: all.
    """
    for node in model.get_ordered_ops():
        if node.get_type_name() == "FakeQuantize":
            for dequantised in list(_dequantised(node.output(0), _DEQUANTISATION)):
                for reader in dequantised.get_target_inputs():
                    if readers is None or reader.get_node().get_type_name() in readers:
                        reader.replace_source_output(node.input_value(0))
    model.validate_nodes_and_infer_types()
    return model


# To int8, back to float32, minus the zero point, times the scale.
_DEQUANTISATION = ("Convert", "Convert", "Subtract", "Multiply")


def _dequantised(output: Any, kinds: tuple[str, ...]) -> Iterator[Any]:
    if not kinds:
        yield output
        return
    for target in output.get_target_inputs():
        node = target.get_node()
        if node.get_type_name() == kinds[0]:
            yield from _dequantised(node.output(0), kinds[1:])
