"""FlowNetS at half resolution, refined at 1/8 and 1/4 of the image resolution."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.downsampling import halve
from training.networks.encoder_decoder import Decoder
from training.networks.layers import conv, deconv, initialise, predict_flow, upsample_flow
from training.networks.refinement import Refinement, gradient_maps, visible

# Of the refinement at 1/4: the motion that a step measures is too small where the flow is off by
# more than a pixel of the maps.
_STEPS = 2


class PyramidFlowNetS(Decoder):
    """FlowNetS without its coarsest level, on half-size images, refined at 1/8 and at 1/4.

    FlowNetS spends most of its time at its finest levels; a `Refinement` replaces them at lower
    cost. At half size every layer costs a quarter, and the coarsest level is at 1/64 of the images'
    resolution, as in FlowNetS. (Coarse to fine, as in SPyNet, arXiv 1611.00850.)

    Args:
        width: as `FlowNetS`.
    """

    flow_scale = 40.0  # 20 as in FlowNetS, on half-size images

    def __init__(self, *, width: float = 1.0) -> None:
        super().__init__()
        c64, c128, c256, c512 = (round(c * width) for c in (64, 128, 256, 512))
        # Initialised as the mean of 2x2 pixels.
        self.halve = nn.Conv2d(6, 6, 2, stride=2, bias=False)
        self.conv1 = conv(6, c64, kernel_size=7, stride=2)
        self.conv2 = conv(c64, c128, kernel_size=5, stride=2)
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
        self.halve.weight.data.copy_(torch.eye(6)[..., None, None] / 4)

    def forward(self, image1: Tensor, image2: Tensor) -> tuple[Tensor, ...]:
        """Predict flow from coarse to fine.

        Args:
            image1: first image, (N, 3, H, W), normalised; H and W multiples of 64.
            image2: second image, likewise.

        Returns:
            Flows (N, 2, H/s, W/s), in pixels of the full-size image divided by ``flow_scale``:
            refined for s = 4, after each step, the last one first, and 8; unrefined for s = 8, 16,
            32, 64.
        """
        images = torch.cat((image1, image2), dim=1)
        conv1 = self.conv1(self.halve(images))
        flows, context = self._decode(conv1)
        maps = gradient_maps(images, stride=2)
        (coarse,), hidden = self.refinement8(
            flows[0], context, halve(maps), scale=self.flow_scale / 4
        )
        fine, _ = self.refinement4(
            F.interpolate(coarse, scale_factor=2.0, mode="bilinear", align_corners=False),
            conv1,
            maps,
            scale=self.flow_scale / 2,
            coarser=hidden,
            steps=_STEPS,
        )
        # Where nothing is to be seen, biases would be taken for motion.
        refined, *others = fine
        return refined * visible(maps), *others, coarse, *flows

    def _decode(self, conv1: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return the flows before refinement, and the maps of the finest deconvolution at 1/8."""
        conv2 = self.conv2(conv1)
        conv3 = self.conv3_1(self.conv3(conv2))
        conv4 = self.conv4_1(self.conv4(conv3))
        conv5 = self.conv5_1(self.conv5(conv4))

        return self.decode_finer((conv2, conv3, conv4), conv5, self.predict_flow5(conv5))
