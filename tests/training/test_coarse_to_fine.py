"""A network applied from coarse to fine: what passes hand on, upsampling, loss."""

import pytest
import torch
import torch.nn.functional as F

from training.losses import relative_loss
from training.networks import build_network, coarse_to_fine, refinement
from training.networks.coarse_to_fine import CoarseToFineFlowNetS, _added
from training.networks.refinement import local_motion, visible


@pytest.fixture
def network() -> CoarseToFineFlowNetS:
    network = build_network("coarse_to_fine_slim", seed=0).eval()
    assert isinstance(network, CoarseToFineFlowNetS)
    return network


def pair(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    small = torch.rand(2, 1, 3, height // 8, width // 8, generator=generator) - 0.5
    first, second = F.interpolate(small.flatten(0, 1), size=(height, width), mode="bilinear")
    return first[None], second[None]


@pytest.mark.parametrize(
    ("passes", "size"), [(1, (64, 64)), (2, (64, 192)), (2, (192, 320)), (3, (128, 384))]
)
def test_each_pass_predicts_at_half_the_resolution_of_the_next(
    network: CoarseToFineFlowNetS, passes: int, size: tuple[int, int]
) -> None:
    network.passes = passes
    assert network.divisor == (128 if passes == 3 else 64)
    with torch.no_grad():
        flows = network(*pair(*size))
    of_a_pass = (8, 8, 8, 16, 16, 16, 16, 16, 32, 64, 128)
    strides = [stride << index for index in range(passes) for stride in of_a_pass]
    assert network.output_stride == strides[0]
    for flow, stride in zip(flows, strides, strict=True):
        expected = (-(-size[0] // stride), -(-size[1] // stride))
        assert tuple(flow.shape[-2:]) == expected


def test_flows_of_passes_add_up_in_pixels_of_each_size(network: CoarseToFineFlowNetS) -> None:
    """With heads of zero but one that always predicts (1, -0.5)."""
    network.passes = 2
    heads = [m for n, m in network.named_modules() if n.rpartition(".")[2].startswith("predict_")]
    for head in heads:
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    network.predict_flow2.bias.data.copy_(torch.tensor([1.0, -0.5]))
    with torch.no_grad():
        flow = network(*pair(64, 128))[0]
    # Predicted at 1/4 and 1/2 of the size, where a pixel is worth 4 and 2.
    expected = (torch.tensor([1.0, -0.5]) * 6)[:, None, None].expand(2, 8, 16)
    torch.testing.assert_close(flow[0], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["coarse_to_fine_slim", "flownets_pyramid_slim"])
def test_a_pair_without_gradients_has_no_flow(name: str) -> None:
    """Alone in its batch, and beside another one."""
    network = build_network(name, seed=0).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d) and module.bias is not None:
            torch.nn.init.normal_(module.bias)
    first, second = pair(64, 128)
    flat, darker = torch.full_like(first, 0.5), torch.full_like(first, -0.2)
    with torch.no_grad():
        alone = network(flat, darker)[0]
        both = network(torch.cat((first, flat)), torch.cat((second, darker)))[0]
        moved = network(first, second)[0]
    torch.testing.assert_close(alone, torch.zeros_like(alone), rtol=0, atol=1e-4)
    torch.testing.assert_close(both[1:], torch.zeros_like(alone), rtol=0, atol=1e-4)
    torch.testing.assert_close(both[:1], moved, rtol=1e-4, atol=1e-4)
    assert moved.abs().max() > 1e-2


@pytest.mark.parametrize("column", [64, 65, 66, 67])
def test_an_edge_of_one_grey_level_is_fully_visible(
    network: CoarseToFineFlowNetS, monkeypatch: pytest.MonkeyPatch, column: int
) -> None:
    """Within a pixel of the smaller images that the network reads, too."""
    found = []
    monkeypatch.setattr(
        coarse_to_fine, "visible", lambda maps: found.append(visible(maps)) or found[-1]
    )
    edge = torch.zeros(1, 3, 64, 128)
    edge[..., column:] = 1 / 255
    with torch.no_grad():
        network(edge, edge)
    (factor,) = found
    torch.testing.assert_close(factor, torch.ones(1, 1, 1, 1))


def test_the_second_image_is_warped_by_the_flow_so_far(network: CoarseToFineFlowNetS) -> None:
    first, second = pair(64, 128)
    shift = 6.0  # pixels of the pass's images; 3 of those at half the size
    so_far = torch.zeros(1, 2, 8, 16)
    so_far[:, 0] = shift / network.flow_scale
    halved = F.avg_pool2d(torch.cat((first, second), dim=1), 2)
    found = network._warped(halved, so_far)
    torch.testing.assert_close(found[:, :3], halved[:, :3])
    torch.testing.assert_close(found[:, 3:, :, :-3], halved[:, 3:, :, 3:], atol=1e-5, rtol=1e-4)
    # Beyond the border, the border's values.
    edge = halved[:, 3:, :, -1:].expand(-1, -1, -1, 3)
    torch.testing.assert_close(found[:, 3:, :, -3:], edge, atol=1e-5, rtol=1e-4)


def test_where_the_flow_so_far_leads_out_of_the_image(network: CoarseToFineFlowNetS) -> None:
    shift = 12.0  # pixels of an image of 64x128, of which 8 are one here
    so_far = torch.zeros(1, 2, 8, 16)
    so_far[:, 0] = shift / network.flow_scale
    found = network._known(so_far)
    torch.testing.assert_close(found[:, :2], so_far)
    # Centres lie 4 px inside: that of the last column leads to 4 + 12 px further, one out; that of
    # the one before to the border's 0 px; all others inside.
    assert found[:, 2, :, -1].all()
    assert not found[:, 2, :, :-2].any()


def test_the_first_pass_is_one_after_no_motion(network: CoarseToFineFlowNetS) -> None:
    """An exported graph with fewer passes starts from zeros."""
    torch.nn.init.normal_(network.so_far.weight)
    halved = F.avg_pool2d(torch.cat(pair(64, 128), dim=1), 2)
    first, after_none = (network._encode(halved, flow) for flow in (None, torch.zeros(1, 2, 8, 16)))
    torch.testing.assert_close(first, after_none, atol=1e-4, rtol=0)


def test_a_flow_is_added_at_every_resolution() -> None:
    so_far = torch.full((1, 2, 5, 7), 2.0)
    residuals = tuple(torch.ones(1, 2, *size) for size in ((5, 7), (3, 4), (2, 2), (1, 1)))
    for total in _added(residuals, so_far):
        torch.testing.assert_close(total, torch.full_like(total, 3.0))


def test_training_disturbs_the_flow_so_far_in_places(network: CoarseToFineFlowNetS) -> None:
    """In about half of the samples, by 1 to 60 pixels; the same for the same seed."""
    so_far = torch.full((200, 2, 12, 16), 5.0) / network.flow_scale
    network.begin_step(3)
    found = network._disturbed(so_far)
    wrong = (found != so_far).any(dim=1).flatten(1)
    assert wrong.any(dim=1).float().mean().item() == pytest.approx(0.45, abs=0.15)
    assert 0.1 < wrong[wrong.any(dim=1)].float().mean() < 0.6
    off = network.flow_scale * (found - so_far).norm(dim=1)
    assert off.max() < 60 + 5 * 2**0.5 + 0.01
    assert len({round(float(one.max()), 3) for one in off}) > 60
    network.begin_step(3)
    torch.testing.assert_close(network._disturbed(so_far), found, rtol=0, atol=0)


@pytest.mark.parametrize("training", [True, False])
def test_only_training_disturbs(
    network: CoarseToFineFlowNetS, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []
    monkeypatch.setattr(network, "_disturbed", lambda flow: called.append(1) or flow)
    network.passes = 2
    with torch.no_grad():
        network.train(training)(*pair(64, 128))
    assert bool(called) == training


def test_training_draws_the_number_of_passes(network: CoarseToFineFlowNetS) -> None:
    drawn = []
    for seed in range(1000):
        network.begin_step(seed)
        drawn.append(network.passes)
    assert [drawn.count(passes) for passes in (1, 2)] == pytest.approx([500, 500], abs=50)
    network.begin_step(7)
    again = network.passes
    network.begin_step(7)
    assert network.passes == again


@pytest.mark.parametrize("passes", [1, 2, 3])
def test_each_flow_counts_in_the_loss(network: CoarseToFineFlowNetS, passes: int) -> None:
    network.passes = passes
    with torch.no_grad():
        flows = network(*pair(128, 128))
    target, weight = torch.zeros(1, 2, 128, 128), torch.ones(1, 1, 128, 128)
    exact = [torch.zeros_like(flow) for flow in flows]
    least = network.loss(tuple(exact), target, weight)
    for index in range(len(flows)):
        wrong = [*exact]
        wrong[index] = wrong[index] + 1
        assert network.loss(tuple(wrong), target, weight) > least


def test_the_loss_counts_ratios_of_errors() -> None:
    """Halving a large error is worth as much as halving a tenth of it."""
    target, weight = torch.zeros(1, 2, 64, 64), torch.ones(1, 1, 64, 64)

    def loss(pixels: float) -> float:
        flows = [torch.zeros(1, 2, size, size) for size in (16, 8, 4)]
        for flow in flows:
            flow[:, 0] = pixels / 40
        return float(relative_loss(flows, (0.5, 0.3, 0.2), target, weight, flow_scale=40.0))

    assert loss(0) < loss(1) < loss(100)
    assert loss(400) - loss(200) == pytest.approx(loss(40) - loss(20), rel=0.01)


def test_motion_is_measured_in_float32_whatever_the_layers_compute_in(
    network: CoarseToFineFlowNetS, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In half precision the normal equations become singular, and gradients NaN."""
    seen = []

    def recorded(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        seen.extend((first.dtype, second.dtype))
        return local_motion(first, second)

    monkeypatch.setattr(refinement, "local_motion", recorded)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        network(*pair(64, 128))
    assert set(seen) == {torch.float32}
    assert len(seen) == 2 * (4 + 3)  # of each step of both refinements
