"""The networks against the papers' layer tables."""

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from kernels import reference
from training.networks import build_network
from training.networks.flownetc import FlowNetC
from training.networks.registry import network_without_weights

_PYRAMID = (
    5_462_666
    # Less conv6, conv6_1, what they hand on and what reads it.
    - (384 * (192 + 384) * 9 + 2 * 384 + 2 * (384 * 9 + 1) + 384 * 192 * 16 + 192 + 64)
    - 194 * (96 * 16 + 2 * 9)
    # Halving, and two refinements, of 32 and of 16 channels.
    + (6 * 6 * 4 + 32 * (31 * 9 + 1) + 32 * 289 + 2 * 289)
    + (16 * (31 * 9 + 1) + 32 * 16 * 16 + 16 * 145 + 2 * 145)
)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # Counted from the layer table of FlowNet (arXiv 1504.06852) with biases as NVIDIA's port.
        ("flownets", 38_676_506),
        ("flownetc", 39_175_298),
        ("flownets_slim", 5_462_666),
        # As NVIDIA/flownet2-pytorch counts them.
        ("flownetsd", 45_371_666),
        ("flownetcs", 77_870_620),
        ("flownetcss", 116_565_942),
        ("flownet2", 162_518_834),
        # princeton-vl/RAFT's checkpoints.
        ("raft_large", 5_257_536),
        ("raft_small", 990_162),
        ("flownets_pyramid_slim", _PYRAMID),
        # conv2 also reads flow and mask; halving is fixed.
        ("coarse_to_fine_slim", _PYRAMID + 3 * 9 * 48 - 6 * 6 * 4),
    ],
)
def test_parameter_count(name: str, parameters: int) -> None:
    network = network_without_weights(name)
    assert sum(p.numel() for p in network.parameters()) == parameters


FLOWNETS = (4, 8, 16, 32, 64)
PYRAMID = (4, 4, 8, 8, 16, 32, 64)
STRIDES_AND_SCALE = {
    **dict.fromkeys(("flownets", "flownets_slim", "flownetc", "flownetc_slim"), (FLOWNETS, 20)),
    **dict.fromkeys(("flownetsd", "flownetcs", "flownetcss"), (FLOWNETS, 20)),
    **dict.fromkeys(("flownets_pyramid", "flownets_pyramid_slim"), (PYRAMID, 40)),
    "flownet2": ((1, 2, 4), 1),
    **dict.fromkeys(("raft_large", "raft_small"), ((1,), 1)),
}


# test_coarse_to_fine.py has those of the other one.
@pytest.mark.parametrize("name", STRIDES_AND_SCALE)
def test_flow_shapes_finest_first(name: str) -> None:
    strides, scale = STRIDES_AND_SCALE[name]
    with FakeTensorMode():  # shapes without numbers
        network = build_network(name).eval()
        image = torch.zeros(2, 3, 128, 192)
        flows = network(image, image)
    assert [tuple(flow.shape) for flow in flows] == [
        (2, 2, 128 // stride, 192 // stride) for stride in strides
    ]
    assert (network.divisor, network.output_stride) == (8 if "raft" in name else 64, strides[0])
    assert network.flow_scale == scale


HEADS = {f"predict_flow{n}.{p}" for n in "65432" for p in ("weight", "bias")}
UPSAMPLINGS = {f"upsampled_flow{n}_to_{n - 1}" for n in (6, 5, 4, 3)}


def layers(*names: str) -> set[str]:
    return {f"{name}.0.{p}" for name in names for p in ("weight", "bias")}


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("flownets", {f"{name}.weight" for name in UPSAMPLINGS}),
        (
            "flownetc",
            layers("conv_redir")
            | {f"{name}.{p}" for name in UPSAMPLINGS for p in ("weight", "bias")},
        ),
    ],
)  # fmt: skip
def test_key_names_of_published_checkpoints(name: str, own: set[str]) -> None:
    """NVIDIA's; ClementPinard's lack the biases of heads, deconvolutions and upsamplings."""
    shared = layers(*(f"conv{n}" for n in (*"123456", "3_1", "4_1", "5_1", "6_1")))
    shared |= layers(*(f"deconv{n}" for n in "5432")) | HEADS
    assert set(build_network(name).state_dict()) == shared | own


def test_flownetc_joins_redirected_features_and_correlations() -> None:
    """What enters conv3_1, against the numpy twin of the correlation."""
    network = FlowNetC(width=1 / 16).eval()
    joined: list[torch.Tensor] = []
    network.conv3_1.register_forward_hook(lambda module, inputs, output: joined.append(inputs[0]))
    generator = torch.Generator().manual_seed(0)
    image1, image2 = torch.rand(2, 1, 3, 64, 128, generator=generator)
    with torch.no_grad():
        network(image1, image2)
        _, first = network.features(image1)
        _, second = network.features(image2)
        redirected = network.conv_redir(first)
    assert first.shape == (1, 16, 8, 16)
    expected = reference.correlation(
        first.double().numpy(), second.double().numpy(), max_displacement=20, stride_2=2
    )
    expected = np.where(expected > 0, expected, 0.1 * expected)
    assert np.abs(expected).max() > 0
    found = joined[0].numpy()
    np.testing.assert_array_equal(found[:, :2], redirected.numpy())
    np.testing.assert_allclose(found[:, 2:], expected, rtol=1e-5, atol=1e-5)


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
