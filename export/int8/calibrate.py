"""Calibration: statistics of the activations that enter each convolution."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx
import onnxruntime as ort

from engine.backends.onnx_graphs import FEATURES, MATCH, WHOLE, Arrays, Graphs, OneGraph, TwoGraphs
from engine.data.pair import Pair
from training.int8.ranges import ActivationStatistics, sampling_step

CONVOLUTIONS = ("Conv", "ConvTranspose")
# Values sampled per tensor and pair: enough for the tail of the distribution.
_SAMPLES = 1 << 15

# By layer, one entry per pair.
_Seen = dict[str, list[ActivationStatistics]]


def calibrate(
    models: Mapping[str, onnx.ModelProto], pairs: Sequence[Pair]
) -> dict[str, ActivationStatistics]:
    """Run pairs through a bundle's fp32 graphs and collect statistics of the convolutions' inputs.

    Args:
        models: the bundle's one or two graphs, by file name.
        pairs: pairs whose sizes are multiples of the network's divisor.

    Returns:
        By layer, as named by `layer_of`.
    """
    seen: _Seen = defaultdict(list)
    probes = {name: _Probe(model, seen) for name, model in models.items()}
    graphs: Graphs = (
        OneGraph(probes[WHOLE]) if WHOLE in probes else TwoGraphs(probes[FEATURES], probes[MATCH])
    )
    for pair in pairs:
        graphs.run(graphs.prepare(pair.image1), graphs.prepare(pair.image2))
    return {layer: ActivationStatistics.merge(found) for layer, found in seen.items()}


def layer_of(convolution: onnx.NodeProto) -> str:
    """Return the name of the network's module that a convolution has its weight from.

    In a siamese network two convolutions have the same layer.
    """
    # "network.conv1.0.weight" is the weight of the convolution in the module conv1.
    return re.sub(r"^network\.|(\.0)?\.weight$", "", convolution.input[1])


class _Probe:
    """An `onnx_graphs.Model` in ONNX Runtime that records the inputs of its convolutions."""

    def __init__(self, model: onnx.ModelProto, seen: _Seen) -> None:
        self._seen = seen
        self._sources = {  # by tensor, the layers that read it
            node.input[0]: [
                layer_of(reader)
                for reader in model.graph.node
                if reader.op_type in CONVOLUTIONS and reader.input[0] == node.input[0]
            ]
            for node in model.graph.node
            if node.op_type in CONVOLUTIONS
        }
        self._outputs = [output.name for output in model.graph.output]
        content = _with_outputs(model, self._sources)
        self._session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])

    def __call__(self, inputs: Arrays) -> Arrays:
        """See `onnx_graphs.Model`."""
        names = [*self._outputs, *self._sources]
        found = dict(zip(names, self._session.run(names, inputs), strict=True))
        for name, layers in self._sources.items():
            maps = found[name]
            values = np.moveaxis(maps, 1, 0).reshape(maps.shape[1], -1)
            sample = values[:, :: sampling_step(values.size, _SAMPLES, maps.shape[-1])].copy()
            observed = ActivationStatistics(sample, np.abs(values).max(axis=1))
            for layer in layers:
                self._seen[layer].append(observed)
        return {name: found[name] for name in self._outputs}


def _with_outputs(model: onnx.ModelProto, names: Iterable[str]) -> bytes:
    """Serialise a model with more outputs; a changed copy would hold the weights once more."""
    outputs = model.graph.output
    before = len(outputs)
    outputs.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
    )
    try:
        return model.SerializeToString()
    finally:
        del outputs[before:]
