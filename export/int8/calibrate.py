"""Calibration: statistics of the activations that enter each convolution."""

from collections.abc import Iterable

from engine.data.pair import Pair
from export.graph.deployable import Deployable, reference_flow
from training.int8.observe import observed_inputs
from training.int8.ranges import ActivationStatistics

# Values sampled per layer and pair: enough for the tail of the distribution.
_SAMPLES = 1 << 15


def calibrate(deployable: Deployable, pairs: Iterable[Pair]) -> dict[str, ActivationStatistics]:
    """Run pairs through the fp32 network in PyTorch and observe the convolutions' inputs.

    An ONNX graph with all these inputs as outputs takes three times as long, and memory for its
    weights twice more.

    Args:
        deployable: the network.
        pairs: pairs to calibrate on.

    Returns:
        By layer, as named by `export.int8.layers.layer_of`.
    """
    with observed_inputs(deployable.network, _SAMPLES) as seen:
        for pair in pairs:
            reference_flow(deployable, pair)
    return {layer: ActivationStatistics.merge(found) for layer, found in seen.items()}
