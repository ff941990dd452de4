"""Loops written out: OpenVINO's CPU plugin computes them wrongly, and slower."""

from typing import Any

from engine.backends.onnx_graphs import ITERATIONS


def without_loops(model: Any, iterations: int | None) -> Any:
    """Replace each Loop of a model by copies of its body, in place, and return the model.

    A Loop over RAFT's updates has another flow in OpenVINO 2026.4 than in ONNX Runtime and PyTorch,
    by tens of pixels, and takes a tenth more time.

    Args:
        model: the ``openvino.Model``, as read from ONNX. The number of turns is the constant
            `ITERATIONS`.
        iterations: another number of turns; None: the constant's.
    """
    loops = [node for node in model.get_ops() if node.get_type_name() == "Loop"]
    for loop in loops:
        _write_out(loop, iterations or _turns(model))
    if loops:
        model.validate_nodes_and_infer_types()
    return model


def _turns(model: Any) -> int:
    (constant,) = (op for op in model.get_ops() if op.get_friendly_name() == ITERATIONS)
    return int(constant.get_data())


def _write_out(loop: Any, turns: int) -> None:
    inputs = loop.get_input_descriptions()
    body = loop.get_function()
    # What each parameter of the body reads, by its index; those that change come from the last
    # copy's results.
    sources = {item.body_parameter_index: loop.input_value(item.input_index) for item in inputs}
    results: list[Any] = []
    for _ in range(turns):
        copy = body.clone()
        parameters = copy.get_parameters()
        for index, source in sources.items():
            parameters[index].output(0).replace(source)
        results = [result.input_value(0) for result in copy.get_results()]
        sources |= {
            item.body_parameter_index: results[item.body_value_index]
            for item in inputs
            if hasattr(item, "body_value_index")
        }
    for item in loop.get_output_descriptions():
        loop.output(item.output_index).replace(results[item.body_value_index])
