"""The stacks of FlowNet 2.0 (arXiv 1612.01925, figure 2): FlowNetCS, FlowNetCSS and FlowNet2.

Each network of a stack reads the images, the second image warped by the flow so far, that flow,
and the brightness error that remains. Names and arithmetic are those of NVIDIA/flownet2-pytorch,
models.py.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from training.networks.flownetc import FlowNetC
from training.networks.flownetfusion import FlowNetFusion
from training.networks.flownets import FlowNetS
from training.networks.flownetsd import FlowNetSD
from training.networks.layers import FlowNetwork, warp

# Both images, the warped second image, the flow, the brightness error.
IN_CHANNELS = 3 + 3 + 3 + 2 + 1


class FlowNetCS(FlowNetwork):
    """FlowNetC, then a FlowNetS.

    Args:
        width: as `FlowNetC` and `FlowNetS`; 1 is the paper's network (77.9 M parameters).
    """

    def __init__(self, *, width: float = 1.0) -> None:
        super().__init__()
        self.flownetc = FlowNetC(width=width)
        self.flownets_1 = FlowNetS(width=width, in_channels=IN_CHANNELS)

    def forward(self, image1: Tensor, image2: Tensor) -> tuple[Tensor, ...]:
        """Predict flow at five resolutions; arguments and result as `FlowNetS`."""
        flow2, *_ = self.flownetc(image1, image2)
        return self.flownets_1.predict(_stack_input(image1, image2, flow2))


class FlowNetCSS(FlowNetCS):
    """FlowNetC, then two FlowNetS.

    Args:
        width: as `FlowNetCS`; 1 is the paper's network (116.6 M parameters).
    """

    # models.py upsamples the result of this stack to the images' size by repeating pixels.
    interpolation: Literal["bilinear", "nearest"] = "nearest"

    def __init__(self, *, width: float = 1.0) -> None:
        super().__init__(width=width)
        self.flownets_2 = FlowNetS(width=width, in_channels=IN_CHANNELS)

    def forward(self, image1: Tensor, image2: Tensor) -> tuple[Tensor, ...]:
        """Predict flow at five resolutions; arguments and result as `FlowNetS`."""
        flow2, *_ = super().forward(image1, image2)
        return self.flownets_2.predict(_stack_input(image1, image2, flow2))


class FlowNet2(FlowNetCSS):
    """FlowNetCSS and FlowNetSD, fused at full resolution.

    Args:
        width: as `FlowNetCS`; 1 is the paper's network (162.5 M parameters).
    """

    output_stride = 1
    flow_scale = 1.0
    interpolation: Literal["bilinear", "nearest"] = "bilinear"

    def __init__(self, *, width: float = 1.0) -> None:
        super().__init__(width=width)
        self.flownets_d = FlowNetSD(width=width)
        self.flownetfusion = FlowNetFusion(width=width)

    def forward(self, image1: Tensor, image2: Tensor) -> tuple[Tensor, ...]:
        """Predict flow at three resolutions.

        Args:
            image1: as `FlowNetS`.
            image2: as `FlowNetS`.

        Returns:
            As `FlowNetFusion`.
        """
        large = _repeated(super().forward(image1, image2)[0] * FlowNetS.flow_scale)
        # Divided: with the published weights this network's unit is 1 / 20 of the other's inverse.
        small = _repeated(self.flownets_d(image1, image2)[0] / FlowNetSD.flow_scale)
        flows = torch.cat((small, large, _length(small), _length(large)), dim=1)
        errors = (_brightness_error(image1, image2, flow) for flow in (small, large))
        return self.flownetfusion(torch.cat((image1, flows.to(image1.dtype), *errors), dim=1))


def _stack_input(image1: Tensor, image2: Tensor, flow2: Tensor) -> Tensor:
    """Return what the next network of a stack reads, (N, 12, H, W), from a flow at 1/4."""
    # Under autocast the flow is bfloat16, with steps of 1/8 of a pixel at 20 pixels.
    flow2 = flow2.to(torch.promote_types(flow2.dtype, torch.float32))
    flow = F.interpolate(flow2, scale_factor=4.0, mode="bilinear", align_corners=False)
    warped = _warped(image2, flow * FlowNetS.flow_scale)
    error = _length(image1 - warped)
    return torch.cat((image1, image2, warped, flow.to(image1.dtype), error), dim=1)


def _brightness_error(image1: Tensor, image2: Tensor, flow: Tensor) -> Tensor:
    """Return the length of the colour difference after warping, (N, 1, H, W)."""
    return _length(image1 - _warped(image2, flow))


def _warped(image: Tensor, flow: Tensor) -> Tensor:
    """Warp an image by a flow (N, 2, H, W) in pixels ("Resample2d")."""
    return warp(image, flow.permute(0, 2, 3, 1))


def _length(maps: Tensor) -> Tensor:
    """Return the Euclidean norm over the channels, (N, 1, H, W) ("ChannelNorm")."""
    return torch.linalg.vector_norm(maps, dim=1, keepdim=True)


def _repeated(flow: Tensor) -> Tensor:
    """Upsample a flow at 1/4 to full resolution by repeating pixels."""
    return F.interpolate(flow, scale_factor=4.0, mode="nearest")
