"""Puts an ONNX graph together from nodes and whole models."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from export.graph.recurrent import renamed


class Assembly:
    """An ONNX graph that grows; tensors are named by the outputs of its nodes."""

    def __init__(self, template: onnx.ModelProto) -> None:
        """Start empty, with the operator sets and functions of a model."""
        self._template = template
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def add(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node; return the name of its output."""
        self._nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return output

    def constant(self, name: str, value: npt.ArrayLike, kind: type = np.int64) -> str:
        """Add a constant, once; return its name."""
        self._constants[name] = numpy_helper.from_array(np.array(value, kind), name)
        return name

    def embed(
        self, model: onnx.ModelProto, prefix: str, inputs: Mapping[str, str], weights: str = ""
    ) -> dict[str, str]:
        """Add all nodes of a model.

        Args:
            model: the model.
            prefix: of the names of its tensors.
            inputs: by input of the model, the tensor that it reads.
            weights: prefix of its constants, which embeddings of one model share.

        Returns:
            By output of the model, the name of its tensor.
        """
        names = {
            tensor.name: f"{weights or prefix}{tensor.name}" for tensor in model.graph.initializer
        }
        graph = renamed(model.graph, prefix, {**names, **inputs})
        for node in graph.node:
            node.name = f"{prefix}{node.output[0]}"  # some have none; two may not have the same
        self._nodes += graph.node
        self._constants |= {tensor.name: tensor for tensor in graph.initializer}
        return {value.name: f"{prefix}{value.name}" for value in model.graph.output}

    def model(
        self, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        """Return the graph as a checked model."""
        graph = helper.make_graph(self._nodes, "flow", inputs, outputs, [*self._constants.values()])
        model = helper.make_model(
            graph,
            opset_imports=self._template.opset_import,
            ir_version=self._template.ir_version,
            functions=self._template.functions,
        )
        onnx.checker.check_model(model)
        return model
