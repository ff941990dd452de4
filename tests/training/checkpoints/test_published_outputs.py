"""Converted weights compute what the published code computes with the original ones.

``published.npz`` has outputs of the repositories' own code in float64, with the weights that
`tests.support.reference` makes from the names in their layouts: every eighth pixel of FlowNets,
every ninth of RAFT after 4 (mmflow: 12) iterations.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from export.graph.deployable import Deployable
from tests.support.reference import reference_images, reference_tensor
from tests.training.checkpoints.test_layouts import FILES
from training.checkpoints.files import Contents
from training.checkpoints.recognise import recognise
from training.networks.raft import RAFT
from training.normalise import NORMALISATIONS
from training.weights import Weights, network_from_weights, weights_from

EXPECTED = dict(np.load(Path(__file__).with_name("published.npz")))
# Of the largest value. The published code itself differs by a third of it in float32.
TOLERANCE = 3e-5


def converted(layout: str) -> Weights:
    tensors = {
        name: torch.from_numpy(np.array(reference_tensor(name, tuple(map(int, sizes)))))
        for name, _, *sizes in FILES[layout]
    }
    contents = Contents(tensors, "PyTorch", "", {})
    return weights_from(Path(layout), contents, recognise(contents))


@pytest.mark.parametrize("layout", ["mmflow_flownetcs", "pinard_flownets_bn"])
def test_flownets(layout: str) -> None:
    weights = converted(layout)
    network = network_from_weights(weights.metadata["network"], weights)
    normalisation = NORMALISATIONS[weights.metadata["normalisation"]]()
    images = (torch.from_numpy(image)[None] for image in reference_images(128, 192))
    with torch.inference_mode():
        flow = Deployable(network, normalisation)(*images).permute(0, 3, 1, 2).numpy()
    assert_close(flow[..., ::8, ::8], EXPECTED[layout])


@pytest.mark.parametrize(
    ("layout", "iterations"),
    [("torchvision_raft_large", 4), ("torchvision_raft_small", 4), ("mmflow_raft_large", 12)],
)
def test_raft(layout: str, iterations: int) -> None:
    weights = converted(layout)
    network = network_from_weights(weights.metadata["network"], weights)
    assert isinstance(network, RAFT)
    network.iterations = iterations
    normalisation = NORMALISATIONS[weights.metadata["normalisation"]]()
    images = (
        torch.from_numpy(image).permute(2, 0, 1)[None].float()
        for image in reference_images(136, 184)
    )
    with torch.inference_mode():
        flow, *_ = network(*normalisation(*images))
    assert_close(flow.numpy()[..., ::9, ::9], EXPECTED[layout])


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())
