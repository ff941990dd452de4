"""Fake quantisation against hand-worked numbers and NumPy."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from training.int8.fake_quant import FakeQuantiser
from training.int8.ranges import mse_range
from training.networks.entry import Int8Recipe
from training.networks.flownets import FlowNetS
from training.networks.layers import FlowNetwork
from training.networks.registry import NETWORKS


class TwoLayers(FlowNetwork):
    """Passes the first image through two 1x1 convolutions that change nothing."""

    recipe = Int8Recipe()

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(3, 3, 1, bias=False) for _ in range(2))
        for layer in (self.first, self.second):
            nn.init.dirac_(layer.weight)

    def forward(self, image1: torch.Tensor, image2: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(image1))


class Concatenation(FlowNetwork):
    """Concatenates two copies of the first channel; the second has an int8 residual."""

    recipe = Int8Recipe(
        decoder_inputs=("reader",),
        scaled_layers=("reader",),
        residual_layers=("two",),
        float_layers=("one", "two"),
    )
    divisor = 8

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = (nn.Conv2d(3, 1, 1, bias=False) for _ in range(2))
        self.reader = nn.Conv2d(2, 1, 1, bias=False)
        for layer in (self.one, self.two):
            nn.init.dirac_(layer.weight)
        nn.init.ones_(self.reader.weight)

    def forward(self, image1: torch.Tensor, image2: torch.Tensor) -> torch.Tensor:
        return self.reader(torch.cat((self.one(image1), self.two(image1)), 1))


def test_a_uniform_distribution_keeps_its_whole_range():
    values = np.linspace(-3, 3, 10_001, dtype=np.float32)
    # Clipping a part t of a uniform distribution costs more than it saves beyond 1 / (4 * 127).
    assert 3 * (1 - 0.01) <= mse_range(values) <= 3


def test_zeros_have_some_range():
    assert mse_range(np.zeros(5, np.float32)) == 1.0


def test_inputs_are_rounded_and_saturate():
    network = TwoLayers()
    rounding = FakeQuantiser(network, network.recipe)
    rounding.observe(network, torch.full((1, 3, 8, 8), 12.7), torch.zeros(1, 3, 8, 8))
    image = torch.tensor([0.04, 0.06, 20.0]).reshape(1, 3, 1, 1)
    with rounding.attach(network):
        rounded = network(image, image).flatten().tolist()
    np.testing.assert_allclose(rounded, [0.0, 0.1, 12.7], rtol=1e-6, atol=1e-6)
    # Detached, nothing is rounded any more.
    assert network(image, image).flatten().tolist() == image.flatten().tolist()


def test_gradients_pass_where_nothing_saturates():
    network = TwoLayers()
    rounding = FakeQuantiser(network, network.recipe)
    rounding.observe(network, torch.full((1, 3, 8, 8), 12.7), torch.zeros(1, 3, 8, 8))
    image = torch.tensor([0.04, 5.0, 20.0]).reshape(1, 3, 1, 1).requires_grad_()
    with rounding.attach(network):
        network(image, torch.zeros_like(image)).sum().backward()
    assert image.grad.flatten().tolist() == [1.0, 1.0, 0.0]


def test_weights_are_rounded_per_output_channel_inside_the_context():
    network = TwoLayers()
    rows = torch.tensor([[0.64, 0.304, 0.006], [-1.28, 0.051, 0.0], [0.0, 0.0, 0.0]])
    network.first.weight.data = rows[..., None, None].clone()
    rounding = FakeQuantiser(network, network.recipe)
    rounding.observe(network, torch.ones(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))
    with rounding.fake_quantised_weights(network):
        found = network.first.weight.data[..., 0, 0].clone()
        network(torch.ones(1, 3, 1, 1), torch.zeros(1)).sum().backward()
    expected = [[0.64, 0.3, 0.01], [-1.28, 0.06, 0.0], [0.0, 0.0, 0.0]]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
    # The gradient is there, and belongs to the weights as they are again.
    assert torch.equal(network.first.weight.data[..., 0, 0], rows)
    assert network.first.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("transposed", [False, True])
def test_weights_of_scaled_inputs_have_scaled_steps(transposed: bool):
    """Of a channel whose input is divided by 4, a step is a quarter of another one's."""
    network = Scaled()
    if transposed:
        network.second = nn.ConvTranspose2d(3, 3, 1, bias=False)
    columns = torch.tensor([0.064, 0.0171, 0.01])  # of each input channel, for one output channel
    weight = torch.zeros(3, 3)
    weight[0] = columns
    network.second.weight.data = (weight.T if transposed else weight)[..., None, None].clone()
    rounding = FakeQuantiser(network, network.recipe)
    image = torch.tensor([1.0, 4.0, 16.0]).reshape(1, 3, 1, 1).expand(1, 3, 64, 64)
    rounding.observe(network, image, 0 * image)  # their roots are the divisors: 1, 2 and 4
    with rounding.fake_quantised_weights(network):
        found = network.second.weight.data[..., 0, 0].clone()
    # 0.064, 0.034 and 0.04 in steps of 0.001, divided again.
    expected = [0.064, 0.017, 0.01]
    np.testing.assert_allclose((found.T if transposed else found)[0], expected, rtol=1e-5)


class DecoderInput(TwoLayers):
    """Its second layer reads a concatenation."""

    recipe = Int8Recipe(decoder_inputs=("second",), scaled_layers=("second",))


def test_decoder_inputs_have_a_scale_per_channel():
    """Channels up to 1, 4 and 16: the largest keeps 0.8 of itself, the others relatively more.

    A step of the largest is 0.8 * 16 / 127 = 0.101, half of that at a quarter of the magnitude, a
    quarter at a sixteenth.
    """
    network = DecoderInput()
    rounding = FakeQuantiser(network, network.recipe)
    largest = torch.tensor([1.0, 4.0, 16.0]).reshape(1, 3, 1, 1)
    none = torch.zeros(1, 3, 8, 8)
    # The largest of the map counts, wherever it is.
    rounding.observe(network, -largest * (torch.arange(64).reshape(8, 8) == 13), none)
    steps = 0.8 * 16 / 127 * torch.tensor([0.25, 0.5, 1.0]).reshape(1, 3, 1, 1)
    with rounding.attach(network):
        # The first layer's range, one for all channels, would clip more than this.
        rounded = network.second(torch.full((1, 3, 1, 1), 2.05))
        clipped = network.second(torch.full((1, 3, 1, 1), 100.0))
        in_bfloat16 = network.bfloat16().second(torch.full((1, 3, 1, 1), 2.05).bfloat16())
    torch.testing.assert_close(rounded, (2.05 / steps).round() * steps)
    torch.testing.assert_close(clipped, 127 * steps)
    assert in_bfloat16.dtype == torch.bfloat16
    torch.testing.assert_close(in_bfloat16.float(), rounded, rtol=2**-6, atol=0)


class Scaled(TwoLayers):
    recipe = Int8Recipe(scaled_layers=("second",))


def test_scaled_layers_have_square_roots_of_magnitudes_as_scales():
    """Channels of 1, 4 and 16 everywhere are 1, 2 and 4 over their roots; 0.7 * 4 is 127 steps."""
    network = Scaled()
    rounding = FakeQuantiser(network, network.recipe)
    image = torch.tensor([1.0, 4.0, 16.0]).reshape(1, 3, 1, 1).expand(1, 3, 64, 64)
    rounding.observe(network, image, 0 * image)
    with rounding.attach(network):
        clipped = network.second(1000 * image)[0, :, 0, 0].tolist()
        step = network.second(torch.full((1, 3, 1, 1), 0.1))[0, :, 0, 0].tolist()
    np.testing.assert_allclose(clipped, [2.8, 5.6, 11.2], rtol=0.01)
    # Of 0.022, 0.044 and 0.088.
    np.testing.assert_allclose(step, [5 * 2.8 / 127, 2 * 5.6 / 127, 11.2 / 127], rtol=0.01)


def test_ranges_follow_unrounded_activations():
    network = TwoLayers()
    rounding = FakeQuantiser(network, network.recipe)
    large, none = torch.full((1, 3, 8, 8), 12.7), torch.zeros(1, 3, 8, 8)
    rounding.observe(network, large / 10, none)
    image = torch.full((1, 3, 1, 1), 50.0)
    with rounding.attach(network):
        assert network(image, 0 * image).max() < 1.28
        for _ in range(24):  # with the first one, the mean of 25
            rounding.observe(network, large, none)
        assert rounding.parameters is not None
        mean = (1.27 + 24 * 12.7) / 25
        # Where both were seen together, either might be rounded to one another's steps.
        np.testing.assert_allclose(rounding.parameters.ranges["first"], mean, rtol=0.01)
        for _ in range(200):  # from here on 0.96 to this power of the old range is left
            rounding.observe(network, large, none)
        np.testing.assert_allclose(network(image, 0 * image).max().item(), 12.7, rtol=1e-3)


def test_every_convolution_outside_float_layers_is_rounded():
    network = FlowNetS(width=1 / 16).eval()
    recipe = replace(NETWORKS["flownets"].int8, residual_layers=())  # which have more levels
    rounding = FakeQuantiser(network, recipe)
    images = torch.rand(2, 1, 3, 128, 192) - 0.5
    rounding.observe(network, *images)
    seen = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(
                lambda _, inputs, __, name=name: seen.extend(
                    (name, channel.unique().numel()) for channel in inputs[0][0]
                )
            )
    with rounding.attach(network), torch.no_grad():
        network(*images)
    assert len({name for name, _ in seen}) == 23
    for name, levels in seen:
        if name not in recipe.float_layers:
            assert levels <= 255, name
    # Something in float was to be seen that int8 could not hold: rounded it would not be there.
    assert max(levels for name, levels in seen if name.startswith("upsampled_flow3")) > 255


def test_a_residual_has_finer_steps_and_a_wider_range():
    """Only in the channels with a residual."""
    network = Concatenation()
    rounding = FakeQuantiser(network, network.recipe)
    ones = {name: torch.ones(1) for name in ("one", "two")}
    state = {"observations": 25, "window": [], "ranges": {"reader": 127.0}, "factors": ones}
    rounding.load_state_dict(state)
    image = torch.tensor([0.3, 126.7, 133.0, 150.0]).reshape(4, 1, 1, 1).expand(4, 3, 1, 1)
    image = image.clone().requires_grad_()
    seen = []
    with rounding.attach(network):
        hook = network.reader.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        network(image, image).sum().backward()
        hook.remove()
    (found,) = seen
    assert found[:, 0].flatten().tolist() == [0.0, 127.0, 127.0, 127.0]
    assert found[:, 1].flatten().tolist() == [0.25, 126.75, 133.0, 142.875]
    # Through each of the two where it is not clipped.
    assert image.grad[:, 0].flatten().tolist() == [2.0, 1.0, 1.0, 0.0]


def test_a_large_batch_counts_while_it_is_in_the_window():
    """One large batch in four counts whole, and for as long as it is among them."""
    network = TwoLayers()
    rounding = FakeQuantiser(network, network.recipe)
    none = torch.zeros(1, 3, 8, 8)
    found = []
    for size in (1.27, 12.7, 1.27, 1.27, 1.27, 1.27, 1.27):
        rounding.observe(network, torch.full((1, 3, 8, 8), size), none)
        assert rounding.parameters is not None
        found.append(rounding.parameters.ranges["first"])
    sums = np.array(found) * np.arange(1, 8)  # of means
    np.testing.assert_allclose(np.diff(sums), [12.7] * 4 + [1.27] * 2, rtol=0.05)


def test_rounding_needs_an_observation():
    network = TwoLayers()
    with pytest.raises(ValueError, match="observe a batch first"):
        FakeQuantiser(network, network.recipe).attach(network)
    with (
        pytest.raises(ValueError, match="observe a batch first"),
        FakeQuantiser(network, network.recipe).fake_quantised_weights(network),
    ):
        pass
