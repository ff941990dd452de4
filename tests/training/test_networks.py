"""The networks against the papers' layer tables."""

import pytest
import torch

from training.networks import NETWORKS, build_network


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # Counted from the layer table of FlowNet (arXiv 1504.06852) with biases as NVIDIA's port.
        ("flownets", 38_676_506),
        ("flownets_slim", 5_462_666),
    ],
)
def test_parameter_count(name: str, parameters: int) -> None:
    network = build_network(name, seed=0)
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize("name", NETWORKS)
def test_flow_shapes_finest_first(name: str) -> None:
    network = build_network(name, seed=0).eval()
    image = torch.zeros(2, 3, 64, 128)
    with torch.no_grad():
        flows = network(image, image)
    assert [tuple(flow.shape) for flow in flows] == [
        (2, 2, 64 // stride, 128 // stride) for stride in (4, 8, 16, 32, 64)
    ]
    assert (network.divisor, network.output_stride, network.flow_scale) == (64, 4, 20.0)


def test_key_names_of_published_checkpoints() -> None:
    """NVIDIA's FlowNetS; ClementPinard's lacks the biases of heads and deconvolutions."""
    expected = {
        f"conv{n}.0.{p}"
        for n in (*"123456", "3_1", "4_1", "5_1", "6_1")
        for p in ("weight", "bias")
    }
    expected |= {f"deconv{n}.0.{p}" for n in "5432" for p in ("weight", "bias")}
    expected |= {f"predict_flow{n}.{p}" for n in "65432" for p in ("weight", "bias")}
    expected |= {f"upsampled_flow{n}_to_{n - 1}.weight" for n in (6, 5, 4, 3)}
    assert set(build_network("flownets").state_dict()) == expected


def test_seed_decides_the_weights_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second = build_network("flownets_slim", seed=3), build_network("flownets_slim", seed=3)
    assert torch.equal(torch.rand(1), expected)
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two)
    other = build_network("flownets_slim", seed=4)
    assert not torch.equal(first.conv1[0].weight, other.conv1[0].weight)


def test_upsampled_flow_starts_bilinear() -> None:
    network = build_network("flownets_slim", seed=0)
    ramp = torch.arange(8.0).expand(1, 2, 8, 8)
    with torch.no_grad():
        up = network.upsampled_flow4_to_3(ramp)
    reference = torch.nn.functional.interpolate(ramp, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(up[..., 2:-2, 2:-2], reference[..., 2:-2, 2:-2])


def test_unknown_network_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown network 'flownet_slim'.*'flownets_slim'\?"):
        build_network("flownet_slim")
