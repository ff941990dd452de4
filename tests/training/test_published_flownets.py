"""NVIDIA's networks against outputs of NVIDIA/flownet2-pytorch, computed there in float64.

``reference/nvidia.npz`` has every fourth pixel of each flow (every eighth of FlowNetS's and
FlowNetC's), the flows between the networks of FlowNet2, and what enters its fusion network.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from export.graph.deployable import Deployable
from tests.support.reference import reference_images, with_reference_weights
from training.networks.flownet2 import FlowNet2, _length
from training.networks.layers import FlowNetwork, warp
from training.networks.registry import network_without_weights
from training.normalise import PairMean

REFERENCE = dict(np.load(Path(__file__).parent / "reference" / "nvidia.npz"))
# Of the largest value. The published code itself differs by a third of it in float32; each of its
# peculiarities, taken otherwise, changes the flow by more than ten times as much.
TOLERANCE = 3e-5


@pytest.fixture(scope="module")
def flownet2() -> FlowNet2:
    return with_reference_weights(network_without_weights("flownet2"))


def part_of(flownet2: FlowNet2, name: str) -> FlowNetwork:
    """Return a smaller stack, whose networks have the same names, and so the same weights."""
    network, state = network_without_weights(name), flownet2.state_dict()
    network.load_state_dict({key: state[key] for key in network.state_dict()}, assign=True)
    return network.eval()


def flow_of(network: nn.Module) -> np.ndarray:
    """Return the flow of the reference images in pixels, (1, 2, 128, 192)."""
    images = (torch.from_numpy(image)[None] for image in reference_images(128, 192))
    with torch.inference_mode():
        flow = Deployable(network, PairMean())(*images)
    return flow.permute(0, 3, 1, 2).numpy()


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


@pytest.mark.parametrize(
    ("name", "step"), [("flownets", 8), ("flownetc", 8), ("flownetsd", 4)]
)  # fmt: skip
def test_single_networks(name: str, step: int) -> None:
    flow = flow_of(with_reference_weights(network_without_weights(name)))
    assert_close(flow[..., ::step, ::step], REFERENCE[name])


@pytest.mark.parametrize("name", ["flownetcs", "flownetcss"])
def test_stacks(flownet2: FlowNet2, name: str) -> None:
    assert_close(flow_of(part_of(flownet2, name))[..., ::4, ::4], REFERENCE[name])


def test_flownet2_with_every_flow_inside(flownet2: FlowNet2) -> None:
    seen: dict[str, np.ndarray] = {}

    def keep(name: str, module: nn.Module) -> None:
        module.register_forward_hook(lambda _m, _inputs, out: seen.update({name: out.numpy()}))

    parts = ("flownetc", "flownets_1", "flownets_2", "flownets_d")
    for part in parts:
        keep(part, flownet2.get_submodule(part).predict_flow2)
    flownet2.flownetfusion.register_forward_pre_hook(
        lambda _m, inputs: seen.update({"fusion": inputs[0].numpy()})
    )
    flow = flow_of(flownet2)
    for part in parts:
        assert_close(seen[part][..., ::2, ::2], REFERENCE[f"flownet2.{part}_flow2"])
    entering = seen["fusion"][:, 3:, ::8, ::8]
    for channel, expected in enumerate(REFERENCE["flownet2.flownetfusion_in_8th"][0]):
        assert_close(entering[0, channel], expected)
    assert_close(flow[..., ::4, ::4], REFERENCE["flownet2"])


def test_warp_by_hand() -> None:
    """Image 10 y + x; the indices are clamped to the border, the weights stay."""
    image = (10.0 * torch.arange(4)[:, None] + torch.arange(5))[None, None]
    flow = torch.zeros(1, 4, 5, 2)
    for y, x, vector in ((0, 1, (0.5, 0)), (0, 2, (-0.5, -0.5)), (0, 3, (0.25, -3)),
                         (3, 4, (0.75, 0.25))):  # fmt: skip
        flow[0, y, x] = torch.tensor(vector)
    moved = warp(image, flow)[0, 0]
    found = [moved[0, 1], moved[0, 2], moved[0, 3], moved[3, 4]]
    np.testing.assert_allclose(found, [1.5, 1.5, 3.25, 34.0], rtol=0, atol=1e-5)


def test_length_by_hand() -> None:
    vectors = torch.tensor([[3.0, 4, 0], [1, 2, 2], [0, 0, 0], [-6, 0, 8]]).T[None, :, :, None]
    vectors.requires_grad_()
    length = _length(vectors)
    assert length.flatten().tolist() == [5, 3, 0, 10]
    length.sum().backward()
    assert vectors.grad is not None
    assert torch.isfinite(vectors.grad).all()
