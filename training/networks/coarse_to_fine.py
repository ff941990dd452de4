"""A small FlowNetS that is applied from coarse to fine, each time to what its flow leaves over."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.losses import relative_loss
from training.networks import downsampling
from training.networks.downsampling import halve
from training.networks.encoder_decoder import Decoder
from training.networks.layers import (
    LEAK,
    conv,
    deconv,
    initialise,
    pixel_centres,
    predict_flow,
    upsample_flow,
    warp,
)
from training.networks.refinement import Refinement, by_image, gradient_maps, visible
from training.networks.upsampling import upsample_matmul

PASSES = 1
MAX_PASSES = 3  # more would need sides of multiples of 256
# Steps of the refinements of a pass, at 1/8 and 1/4 of its images. The motion that a step measures
# is too small where the flow is off by more than a pixel of its maps; the next step finds the rest.
_STEPS = (4, 3)
# Weights of the flows of a pass in the loss, the last step first. It ends with unrefined ones at
# four resolutions.
_SHARES = (0.31, 0.15, 0.15, 0.15, 0.08, 0.08, 0.08, 0.11, 0.04, 0.04, 0.04)
# How often 1 and 2 passes are trained. Further passes have the second one's weights, too.
_TRAINED = (0.5, 0.5)
# Share of the training samples whose flow so far is wrong in some areas, and by how many pixels.
_DISTURBED, _WRONG_BY = 0.5, (1.0, 60.0)


class CoarseToFineFlowNetS(Decoder):
    """A small FlowNetS, applied to images of half the size, or of a quarter and then of half.

    Each pass reads the first image, the second one warped by the flow so far, and that flow, and
    adds a residual (SPyNet, arXiv 1611.00850; the stacks of FlowNet 2.0, arXiv 1612.01925). The
    passes share the weights, as RAFT's updates do (arXiv 2003.12039): their number can be chosen
    after training.

    Args:
        width: as `FlowNetS`.
    """

    flow_scale = 40.0
    output_stride = 8
    reads_quartered = True

    def __init__(self, *, width: float = 1.0) -> None:
        super().__init__()
        self.passes = PASSES
        self._random = np.random.default_rng(0)
        c64, c128, c256, c512 = (round(c * width) for c in (64, 128, 256, 512))
        self.conv1 = conv(3 + 3, c64, kernel_size=7, stride=2)
        # One layer over the concatenation of conv1's maps, the flow so far and whether it leads out
        # of the image, written as a sum: both have the resolution of the result, and int8 has one
        # step for each layer's input.
        self.conv2 = nn.Conv2d(c64, c128, 5, 2, padding=2)
        self.so_far = nn.Conv2d(2 + 1, c128, 3, padding=1, bias=False)
        self.conv3 = conv(c128, c256, kernel_size=5, stride=2)
        self.conv3_1 = conv(c256, c256)
        self.conv4 = conv(c256, c512, stride=2)
        self.conv4_1 = conv(c512, c512)
        self.conv5 = conv(c512, c512, stride=2)
        self.conv5_1 = conv(c512, c512)

        self.deconv4 = deconv(c512, c256)
        self.deconv3 = deconv(c512 + c256 + 2, c128)
        self.deconv2 = deconv(c256 + c128 + 2, c64)

        self.predict_flow5 = predict_flow(c512)
        self.predict_flow4 = predict_flow(c512 + c256 + 2)
        self.predict_flow3 = predict_flow(c256 + c128 + 2)
        self.predict_flow2 = predict_flow(c128 + c64 + 2)

        self.upsampled_flow5_to_4 = upsample_flow(bias=False)
        self.upsampled_flow4_to_3 = upsample_flow(bias=False)
        self.upsampled_flow3_to_2 = upsample_flow(bias=False)

        self.refinement8 = Refinement(c64, hidden=32)
        self.refinement4 = Refinement(c64, hidden=16, coarser=32)
        initialise(self)
        nn.init.zeros_(self.so_far.weight)

    @property
    def passes(self) -> int:
        """Number of passes: 1 reads images of half the size, 2 begin at a quarter, and so on."""
        return self._passes

    @passes.setter
    def passes(self, passes: int) -> None:
        self._passes = passes
        self.divisor = max(64, 16 << passes)  # the smallest images' divisor is 16

    def begin_step(self, seed: int) -> None:
        """Draw the number of passes of a training step."""
        self._random = np.random.default_rng(seed)
        self.passes = 1 + int(self._random.choice(len(_TRAINED), p=_TRAINED))

    def loss(self, flows: tuple[Tensor, ...], target: Tensor, weight: Tensor) -> Tensor:
        """Return the loss over all passes; arguments as `relative_loss`."""
        shares = _SHARES * self.passes
        return relative_loss(flows, shares, target, weight, flow_scale=self.flow_scale)

    def forward(self, image1: Tensor, image2: Tensor) -> tuple[Tensor, ...]:
        """Predict flow from coarse to fine.

        Args:
            image1: first image, (N, 3, H, W), normalised; H and W multiples of ``divisor``.
            image2: second image, likewise.

        Returns:
            Flows in pixels of the full-size image divided by ``flow_scale``, the last pass first.
            Of the last pass: after each step at 1/8, then at 1/16 of the resolution, the last step
            first; then unrefined ones at 1/16, 1/32, 1/64 and 1/128. Each pass before has half
            these resolutions.
        """
        with torch.autocast(image1.device.type, enabled=False):
            quartered = downsampling.quarter(torch.cat((image1, image2), dim=1))
        return self.of_quartered(quartered)

    def of_quartered(self, quartered: Tensor) -> tuple[Tensor, ...]:
        """Return what `forward` does, from the normalised pair at a quarter of its size."""
        sizes = self.sizes(quartered)
        flows: tuple[Tensor, ...] = ()
        so_far = None
        for index in reversed(range(self.passes)):
            if so_far is not None and self.training:
                so_far = self._disturbed(so_far)
            found = self.one_pass(sizes[index], so_far)
            so_far = 2 * found[0].detach()  # a pixel of this pass is two of the next one's
            flows = (*(2 ** (index + 1) * flow for flow in found), *flows)
        return flows

    def sizes(self, quartered: Tensor) -> list[Tensor]:
        """Return what each pass reads, the last one first.

        Args:
            quartered: the pair at a quarter of its size, (N, 6, H / 4, W / 4).

        Returns:
            The pair at a quarter of the size, at 1/8, and so on: no layer reads images of the
            pass's own size.
        """
        sizes = [quartered]
        with torch.autocast(quartered.device.type, enabled=False):
            while len(sizes) < self.passes:
                sizes.append(downsampling.halve_images(sizes[-1]))
        return sizes

    def one_pass(self, halved: Tensor, so_far: Tensor | None) -> tuple[Tensor, ...]:
        """Return the flows of one pass, in pixels of its images divided by ``flow_scale``.

        Args:
            halved: the pair at half the size of the pass's images, (N, 6, h / 2, w / 2).
            so_far: flow of the pass before, (N, 2, h / 8, w / 8), in the unit of this one; None:
                this is the first.

        Returns:
            The flows, the finest first.
        """
        conv1, conv2 = self._encode(halved, so_far)
        residuals, context = self._decode(conv2)
        # In float32, whatever the layers compute in: a flow has more digits than a residual.
        residuals = tuple(residual.float() for residual in residuals)
        flows = residuals if so_far is None else _added(residuals, so_far)
        # In float32: the refinement measures small differences between the maps.
        with torch.autocast(halved.device.type, enabled=False):
            maps = gradient_maps(halved, stride=1)
            small = halve(maps)
        coarse, hidden = self.refinement8(
            flows[0], context, small, scale=self.flow_scale / 4, steps=_STEPS[0]
        )
        fine, _ = self.refinement4(
            _doubled(coarse[0]),
            conv1,
            maps,
            scale=self.flow_scale / 2,
            coarser=hidden,
            steps=_STEPS[1],
        )
        # Where nothing is to be seen, biases would be taken for motion.
        return (fine[0] * visible(maps), *fine[1:], *coarse, *flows)

    def _disturbed(self, so_far: Tensor) -> Tensor:
        """Replace the flow so far in some areas of some samples by a wrong one.

        A pass then learns to find what the one before has missed. Without, a flow that was wrong at
        a quarter of the size stayed wrong.
        """
        samples, _, height, width = so_far.shape
        draw = self._random
        shapes = torch.from_numpy(draw.normal(size=(samples, 1, 4, 5))).to(so_far)
        shapes = F.interpolate(shapes, (height, width), mode="bilinear", align_corners=False)
        chosen = torch.from_numpy(draw.random((samples, 1, 1, 1)) < _DISTURBED).to(so_far.device)
        least, most = np.log(_WRONG_BY)
        pixels = np.exp(draw.uniform(least, most, (samples, 1)))
        angle = draw.uniform(0, 2 * np.pi, (samples, 1))
        wrong = pixels * np.concatenate((np.cos(angle), np.sin(angle)), axis=1) / self.flow_scale
        kept = draw.integers(0, 2, (samples, 1, 1, 1))  # else it is another motion, or none
        moved = so_far * torch.from_numpy(kept).to(so_far)
        moved = moved + torch.from_numpy(wrong).to(so_far)[..., None, None]
        return torch.where(chosen & (shapes > 0.4), moved, so_far)

    def concatenate(self, skip: Tensor, *upsampled: Tensor) -> Tensor:
        """Crop what was upsampled from an odd height or width, and concatenate along channels."""
        height, width = skip.shape[-2:]
        return torch.cat((skip, *(maps[..., :height, :width] for maps in upsampled)), dim=1)

    def _encode(self, halved: Tensor, so_far: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the maps of conv1 and conv2."""
        if so_far is None:
            conv1 = self.conv1(halved)
            return conv1, F.leaky_relu(self.conv2(conv1), LEAK)
        with torch.autocast(halved.device.type, enabled=False):
            images, known = self._warped(halved, so_far.float()), self._known(so_far.float())
        conv1 = self.conv1(images)
        return conv1, F.leaky_relu(self.conv2(conv1) + self.so_far(known.to(halved.dtype)), LEAK)

    def _warped(self, halved: Tensor, so_far: Tensor) -> Tensor:
        """Return the images after warping the second one by the flow so far."""
        first, second = by_image(halved)
        pixels = self.flow_scale / 2  # of halved images, in the flow's unit
        moved = warp(second, upsample_matmul(so_far * pixels, 4))
        return torch.cat((first, moved), dim=1)

    def _known(self, so_far: Tensor) -> Tensor:
        """Return the flow so far, and whether it leads out of the image, (N, 3, h / 8, w / 8)."""
        # Not from the grid of the warp: TensorRT for RTX 1.7 fails ("ssa_validation") where
        # GridSample and other operators read one grid.
        centres, unit = pixel_centres(so_far.permute(0, 2, 3, 1))
        moved = so_far * (self.flow_scale / 8 * unit)[:, None, None]
        outside = (centres.permute(2, 0, 1) + moved).abs().amax(dim=1, keepdim=True) > 1
        return torch.cat((so_far, outside.to(so_far.dtype)), dim=1)

    def _decode(self, conv2: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return the flows before refinement, and the maps of the finest deconvolution at 1/8."""
        conv3 = self.conv3_1(self.conv3(conv2))
        conv4 = self.conv4_1(self.conv4(conv3))
        conv5 = self.conv5_1(self.conv5(conv4))
        return self.decode_finer((conv2, conv3, conv4), conv5, self.predict_flow5(conv5))


def _doubled(flow: Tensor) -> Tensor:
    """Return a flow at twice the resolution; its values stay."""
    return F.interpolate(flow, scale_factor=2.0, mode="bilinear", align_corners=False)


def _added(residuals: tuple[Tensor, ...], so_far: Tensor) -> tuple[Tensor, ...]:
    """Add the flow so far, of the first residual's resolution, to the residuals."""
    levels = [so_far]
    while len(levels) < len(residuals):
        # Where a side is odd, its last row or column counts alone, as for a convolution.
        levels.append(F.avg_pool2d(levels[-1], 2, ceil_mode=True, count_include_pad=False))
    return tuple(residual + level for residual, level in zip(residuals, levels, strict=True))
