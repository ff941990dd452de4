"""Validation pairs, and a network's end-point error on them."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from engine.flow.metrics import endpoint_error
from engine.images import padded_size
from training.data.batch import PairBatch
from training.data.sets import PairDataset, first_pairs
from training.networks.layers import FlowNetwork
from training.synthetic.render import SyntheticPairs

# By name of the set, batches of pairs.
Validation = dict[str, list[PairBatch]]

VALIDATION_SEED = 2_000_000_000  # far from every training seed


def open_validation(pairs_on_disk: PairDataset | None, device: str) -> Validation:
    """Return the sets that the error is reported on: procedural pairs, and those on disk."""
    validation = {}
    if pairs_on_disk is not None:
        pairs = first_pairs(pairs_on_disk, 640)
        validation[f"{pairs_on_disk.name}, {len(pairs)} pairs"] = pairs
    renderer = SyntheticPairs(384, 512, device=device)
    validation["synthetic"] = [renderer.render(4, VALIDATION_SEED + i) for i in range(8)]
    return validation


@torch.no_grad()
def errors_of(
    network: FlowNetwork, normalise: nn.Module, validation: Validation, device: torch.device
) -> dict[str, float]:
    """Return the mean over the pairs of each set of their mean end-point error, in pixels."""
    errors = {}
    for name, batches in validation.items():
        total, count = 0.0, 0
        for pairs in batches:
            pairs = pairs.to(device)
            height, width = pairs.flow.shape[-2:]
            # As the engine does: replicate padding to a size that the network takes, then cropping.
            rows, columns = padded_size(height, width, network.divisor, network.smallest)
            pad = (0, columns - width, 0, rows - height)
            images = (F.pad(x.float(), pad, "replicate") for x in (pairs.image1, pairs.image2))
            flow = network(*normalise(*images))[0].float() * network.flow_scale
            stride = float(network.output_stride)
            flow = F.interpolate(flow, scale_factor=stride, mode=network.interpolation)
            flow = flow[..., :height, :width]
            flow, truth = (x.permute(0, 2, 3, 1).cpu().numpy() for x in (flow, pairs.flow))
            error = endpoint_error(flow, truth)
            total += float(np.nanmean(error, axis=(1, 2)).sum())  # NaN where the flow is unknown
            count += len(pairs.flow)
        errors[name] = round(total / count, 4)
    return errors
