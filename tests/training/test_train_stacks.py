"""Training of the networks of FlowNet 2.0, with a sixteenth of their channels."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training.losses import multiscale_loss
from training.networks import NETWORKS
from training.networks.flownet2 import FlowNet2, FlowNetCS, FlowNetCSS
from training.networks.flownetsd import FlowNetSD
from training.networks.layers import FlowNetwork
from training.train import main
from training.weights import load_weights, network_from_weights


@pytest.mark.parametrize("kind", [FlowNetSD, FlowNetCS, FlowNetCSS, FlowNet2])
def test_the_loss_has_a_gradient_for_every_layer(kind: type[FlowNetwork]) -> None:
    torch.manual_seed(0)
    network = kind(width=1 / 16)
    image1, image2 = torch.rand(2, 2, 3, 64, 64) - 0.5
    target, weight = torch.rand(2, 2, 64, 64) * 8, torch.ones(2, 1, 64, 64)
    multiscale_loss(network(image1, image2), target / network.flow_scale, weight).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


def test_still_images_have_a_finite_gradient() -> None:
    """Brightness error and flow are zero where nothing moves, and their length has a corner."""
    network = FlowNet2(width=1 / 16)
    image = torch.zeros(1, 3, 64, 64)
    zeros = torch.zeros(1, 2, 64, 64)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    multiscale_loss(network(image, image), zeros + 1, torch.ones(1, 1, 64, 64)).backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


@pytest.mark.usefixtures("small_validation")
def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = replace(NETWORKS["flownet2"], build=lambda: FlowNet2(width=1 / 16))
    monkeypatch.setitem(NETWORKS, "narrow", narrow)
    size = ["--height", "64", "--width", "64", "--batch-size", "2", "--pool", "2"]
    run = ["--network", "narrow", "--device", "cpu", "--steps", "2", "--out", str(tmp_path)]
    main([*run, *size])
    weights = load_weights(tmp_path / "narrow.safetensors")
    assert isinstance(network_from_weights("narrow", weights), FlowNet2)
