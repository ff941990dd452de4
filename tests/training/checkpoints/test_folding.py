"""Differences that weights absorb: by hand-worked numbers, and by what the networks compute."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.checkpoints.files import Contents
from training.checkpoints.folding import rgb_from_bgr, scaled, without_batch_norm
from training.checkpoints.layout import Origin, same
from training.checkpoints.recognise import recognise
from training.networks import build_network


def test_batch_norm_by_hand() -> None:
    # 5 x, minus the mean 3, times 6 / sqrt(4): 15 x - 9, plus 2. (4 less the epsilon in variance.)
    tensors = {
        "conv1.0.weight": torch.full((1, 1, 1, 1), 5.0),
        "conv1.1.weight": torch.tensor([6.0]),
        "conv1.1.bias": torch.tensor([2.0]),
        "conv1.1.running_mean": torch.tensor([3.0]),
        "conv1.1.running_var": torch.tensor([4 - 1e-5]),
    }
    made = {
        name: origin.compute(*(tensors[key] for key in origin.tensors)).item()
        for name, origin in without_batch_norm("conv1.0", "conv1.1", (1, 1, 1, 1)).items()
    }
    assert made == {
        "conv1.0.weight": pytest.approx(15, abs=1e-6),
        "conv1.0.bias": pytest.approx(-7, abs=1e-6),
    }


def test_batch_norm_against_pytorch() -> None:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(5, 4, 3, bias=False), nn.BatchNorm2d(4).eval()
    nn.init.uniform_(norm.weight, -2, 2)
    nn.init.uniform_(norm.bias, -2, 2)
    norm.running_mean, norm.running_var = torch.randn(4), torch.rand(4) + 0.01
    tensors = {"c.0.weight": conv.weight} | {f"c.1.{k}": v for k, v in norm.state_dict().items()}
    weight, bias = (
        origin.compute(*(tensors[key] for key in origin.tensors))
        for origin in without_batch_norm("c.0", "c.1", tuple(conv.weight.shape)).values()
    )
    images = torch.randn(1, 5, 8, 8)
    torch.testing.assert_close(
        F.conv2d(images, weight, bias), norm(conv(images)), atol=1e-5, rtol=1e-5
    )


def swapped(name: str, weight: Tensor) -> Tensor:
    (origin,) = rgb_from_bgr({name: Origin({name: tuple(weight.shape)}, same)}).values()
    return origin.compute(weight)


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("conv1.0.weight", [2, 1, 0]),
        ("fnet.conv1.weight", [2, 1, 0]),
        ("flownets_d.conv0.0.weight", [2, 1, 0, 5, 4, 3]),
        # Image 1, then flows and errors.
        ("flownetfusion.conv0.0.weight", [2, 1, 0, 3, 4, 5, 6, 7, 8, 9, 10]),
        # Images 1, 2 and the warped one, then flow and error.
        ("flownets_1.conv1.0.weight", [2, 1, 0, 5, 4, 3, 8, 7, 6, 9, 10, 11]),
    ],
)
def test_colours_are_swapped_in_every_image(name: str, order: list[int]) -> None:
    weight = torch.arange(float(len(order))).reshape(1, -1, 1, 1)
    assert swapped(name, weight).flatten().tolist() == order


@pytest.mark.parametrize(
    ("name", "channels"), [("conv2.0.weight", 6), ("flownets_d.conv1.0.weight", 64)]
)
def test_deeper_layers_keep_their_channels(name: str, channels: int) -> None:
    weight = torch.arange(float(channels)).reshape(1, -1, 1, 1)
    assert torch.equal(swapped(name, weight), weight)


def test_scaling_from_a_channel_on() -> None:
    origin = scaled(Origin({"w": (1, 3, 1, 1)}, same), 10.0, "rule", start=1)
    assert origin.compute(torch.tensor([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1)).flatten().tolist() == [
        1.0,
        20.0,
        30.0,
    ]
    assert origin.rule == "rule"


def test_another_unit_of_the_flow() -> None:
    """Trained on pixels / 10, the network predicts twice the numbers of one in pixels / 20."""
    network = build_network("flownets_slim", seed=3).eval()
    for name, parameter in network.named_parameters():
        if name.startswith("predict_flow"):
            nn.init.normal_(parameter, std=0.05)
    state = network.state_dict()
    contents = Contents(dict(state), "PyTorch", "", {"div_flow": 10})
    match = recognise(contents)
    other = build_network("flownets_slim", seed=4).eval()
    other.load_state_dict({
        name: origin.compute(*(state[key] for key in origin.tensors))
        for name, origin in match.origins.items()
    })  # fmt: skip
    images = torch.rand(2, 1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for found, expected in zip(other(*images), network(*images), strict=True):
            torch.testing.assert_close(2 * found, expected, atol=1e-5, rtol=1e-5)
