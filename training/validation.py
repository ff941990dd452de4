"""Pairs that are not trained on, and a network's error on them."""

import argparse

import torch
import torch.nn.functional as F
from torch import nn

from training.data.pairs import Pairs
from training.data.sets import first_pairs
from training.losses import end_point_error
from training.networks.layers import FlowNetwork
from training.synthetic.render import SyntheticPairs

# Batches of pairs by name of their set.
Validation = dict[str, list[Pairs]]

VALIDATION_SEED = 2_000_000_000  # far from every training seed


def open_validation(options: argparse.Namespace) -> Validation:
    """The fixed sets that the error is reported on."""
    validation = {}
    if options.validation is not None:
        pairs = first_pairs(options.validation, 640)
        validation[f"chairs, {len(pairs)} pairs"] = pairs
    renderer = SyntheticPairs(384, 512, device=options.device)
    validation["synthetic"] = [renderer.render(4, VALIDATION_SEED + i) for i in range(8)]
    return validation


@torch.no_grad()
def errors_of(
    network: FlowNetwork, normalise: nn.Module, validation: Validation, device: torch.device
) -> dict[str, float]:
    """Mean end-point error of each set, in full-resolution pixels."""
    errors = {}
    for name, batches in validation.items():
        total, count = 0.0, 0
        for pairs in batches:
            pairs = pairs.to(device)
            height, width = pairs.flow.shape[-2:]
            # As the runtime does: replicate to whole multiples, crop the flow.
            pad = (0, -width % network.divisor, 0, -height % network.divisor)
            images = (F.pad(x.float(), pad, "replicate") for x in (pairs.image1, pairs.image2))
            flow = network(*normalise(*images))[0].float() * network.flow_scale
            stride = float(network.output_stride)
            flow = F.interpolate(flow, scale_factor=stride, mode="bilinear")[..., :height, :width]
            total += float(end_point_error(flow, pairs.flow).mean((1, 2, 3)).sum())
            count += len(pairs.flow)
        errors[name] = round(total / count, 4)
    return errors
