"""FlowNetS with a second look: what is left between the images once its flow is taken out."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.flownets import FlowNetS
from training.networks.layers import LEAK, conv, initialise, predict_flow, warp

# Maps per image in which the rest is measured, and channels of the layers that judge it. How exact
# a match is does not depend on how wide the network is that found it.
_MAPS = 2
_HIDDEN = 32
# Of the maps' values: where they vary by less over a window, motion is noise.
_DAMPING = 0.005
_NOISE = 0.1
_FURTHEST = 2.0  # pixels of the maps; a linear model is good for no more


class RefinedFlowNetS(FlowNetS):
    """FlowNetS, then one step of Lucas and Kanade that layers learn when to trust.

    The second image is moved back by the flow, and what is left is solved for in closed form, in
    maps at half the resolution. (FlowNet's paper refines its flow by a variational method,
    "FlowNetS+v". Layers that see the two images and have to find out by themselves, as in FlowNet
    2.0 and LiteFlowNet, learnt nothing in 1,400 steps in which these took a tenth off the error.)
    FlowNetS itself remains as it is: its weights are the beginning of this network's.

    Args:
        width: as `FlowNetS`.
    """

    equalised_layers = (*FlowNetS.equalised_layers, "refinement1_context")
    added_layers = (
        "appearance",
        "refinement1_context",
        "refinement1_left",
        "refinement2",
        "predict_residual",
    )

    def __init__(self, *, width: float = 1.0) -> None:
        super().__init__(width=width)
        # First one image's maps, then the other's. In two groups OpenVINO computes them slower.
        maps = nn.Conv2d(6, 2 * _MAPS, 4, stride=2, padding=1)
        self.appearance = nn.Sequential(maps, nn.LeakyReLU(LEAK))
        # One layer, of what the finest deconvolution hands on, and of what is left, in four
        # numbers, and the flow. In two parts, because OpenVINO lays out anew what layers and other
        # operators join, and int8 has a step for each.
        self.refinement1_context = nn.Conv2d(round(64 * width), _HIDDEN, 3, padding=1)
        self.refinement1_left = nn.Conv2d(4 + 2, _HIDDEN, 3, padding=1, bias=False)
        self.refinement2 = conv(_HIDDEN, _HIDDEN)
        self.predict_residual = predict_flow(_HIDDEN)
        initialise(self)
        # They begin as the same maps, each of its image alone.
        of_first, of_second = maps.weight.data.chunk(2)
        of_second[:, 3:] = of_first[:, :3]
        of_first[:, 3:] = 0
        of_second[:, :3] = 0

    def forward(self, image1: Tensor, image2: Tensor) -> tuple[Tensor, ...]:
        """Predict flow, then refine it.

        Args:
            image1: first image, (N, 3, H, W), normalised; H and W multiples of 64.
            image2: second image, likewise.

        Returns:
            The refined flow, (N, 2, H/4, W/4), then those of `FlowNetS`.
        """
        images = torch.cat((image1, image2), dim=1)
        conv2 = self.conv2(self.conv1(images))
        flows, context = self.decode(conv2, self.conv3(conv2))
        # Constant for the refinement, as in RAFT (arXiv 2003.12039): it has a loss of its own.
        flow = flows[0].detach()
        # In float32 before one is moved: what is looked for is a small difference between them.
        first, second = self.appearance(images).float().chunk(2, dim=1)
        finer = F.interpolate(flow, scale_factor=2.0, mode="bilinear", align_corners=False)
        moved = warp(second, finer * (self.flow_scale / 2))
        left = local_motion(first, moved)
        seen = torch.cat((left.to(context.dtype), flow.to(context.dtype)), dim=1)
        joined = self.refinement1_context(context) + self.refinement1_left(seen)
        residual = self.predict_residual(self.refinement2(F.leaky_relu(joined, LEAK)))
        return flow + residual, *flows


def local_motion(first: Tensor, second: Tensor) -> Tensor:
    """Solve for the small motion between two maps (Lucas and Kanade, 1981), and say how well.

    In windows of 6x6, around every second pixel's corner; damped where nothing varies (Levenberg
    and Marquardt), and with less weight where the maps differ much, which motion does not explain.

    Args:
        first: (N, C, H, W) float32; H and W even.
        second: likewise.

    Returns:
        (N, 4, H/2, W/2): motion from first to second in pixels of the maps, x then y; whether the
        maps vary in all directions, 1, or in one alone, 0, along which motion does not show
        (Foerstner's roundness); and the logarithm of how much they vary.
    """
    difference, middle = second - first, F.pad(first + second, (1, 1, 1, 1), mode="replicate")
    along_x = (middle[:, :, 1:-1, 2:] - middle[:, :, 1:-1, :-2]) / 4
    along_y = (middle[:, :, 2:, 1:-1] - middle[:, :, :-2, 1:-1]) / 4
    weight = 1 / (difference.abs().mean(1, keepdim=True) + _NOISE)
    products = (
        along_x * along_x,
        along_x * along_y,
        along_y * along_y,
        along_x * difference,
        along_y * difference,
    )
    sums = torch.cat([product.sum(1, keepdim=True) * weight for product in products], dim=1)
    xx, xy, yy, xt, yt = F.avg_pool2d(sums, 6, stride=2, padding=2).chunk(5, dim=1)
    xx, yy = xx + _DAMPING, yy + _DAMPING
    determinant = xx * yy - xy * xy
    u = ((xy * yt - yy * xt) / determinant).clamp(-_FURTHEST, _FURTHEST)
    v = ((xy * xt - xx * yt) / determinant).clamp(-_FURTHEST, _FURTHEST)
    trace = xx + yy
    return torch.cat((u, v, 4 * determinant / (trace * trace), trace.log()), dim=1)
