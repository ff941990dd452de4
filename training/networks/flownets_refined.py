"""FlowNetS with a second look."""

import torch
from torch import Tensor

from training.networks.flownets import FlowNetS
from training.networks.layers import initialise
from training.networks.refinement import Appearance, Refinement, by_image


class RefinedFlowNetS(FlowNetS):
    """FlowNetS, then a `Refinement` in maps at half the resolution.

    FlowNetS itself remains as it is: its weights are the beginning of this network's.

    Args:
        width: as `FlowNetS`.
    """

    equalised_layers = (*FlowNetS.equalised_layers, "refinement.context")
    added_layers = ("appearance", "refinement")

    def __init__(self, *, width: float = 1.0) -> None:
        super().__init__(width=width)
        self.appearance = Appearance()
        self.refinement = Refinement(round(64 * width))
        initialise(self)
        self.appearance.begin_alike()

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
        # In float32 before one is moved: what is looked for is a small difference between them.
        maps = by_image(self.appearance(images).float())
        refined, _ = self.refinement(flows[0], context, maps, scale=self.flow_scale / 2)
        return refined, *flows
