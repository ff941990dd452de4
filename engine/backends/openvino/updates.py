"""Loops and branches written out: OpenVINO's CPU plugin computes Loops wrongly, and slower."""

from typing import Any

from engine.backends.onnx_graphs import ITERATIONS


def written_out(model: Any, iterations: int | None) -> Any:
    """Replace each Loop by copies of its body and each If by a branch, in place.

    A Loop over RAFT's updates has another flow in OpenVINO 2026.4 than in ONNX Runtime and PyTorch,
    by tens of pixels, and takes a tenth more time.

    Args:
        model: the ``openvino.Model``, as read from ONNX. The number of turns is the constant
            `ITERATIONS`; the condition of an If is that it is at least another constant.
        iterations: another number of turns; None: the constant's.

    Returns:
        The model.
    """
    kinds = {"Loop": _write_out, "If": _choose}
    nodes = [node for node in model.get_ordered_ops() if node.get_type_name() in kinds]
    for node in nodes:
        kinds[node.get_type_name()](node, iterations or _turns(model))
    if nodes:
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


def _choose(choice: Any, turns: int) -> None:
    least = choice.input_value(0).get_node().input_value(1).get_node()
    index = 0 if turns >= int(least.get_data()) else 1
    body = choice.get_function(index)
    parameters = body.get_parameters()
    for item in choice.get_input_descriptions(index):
        parameters[item.body_parameter_index].output(0).replace(
            choice.input_value(item.input_index)
        )
    results = body.get_results()
    for item in choice.get_output_descriptions(index):
        choice.output(item.output_index).replace(results[item.body_value_index].input_value(0))
