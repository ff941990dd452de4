"""FlowNetPytorch's FlowNetS written once more, from its state_dict, in float64."""

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]
WIDTH = 1 / 16
_CONVOLUTIONS = (
    ("conv1", 6, 64, 7), ("conv2", 64, 128, 5), ("conv3", 128, 256, 5), ("conv3_1", 256, 256, 3),
    ("conv4", 256, 512, 3), ("conv4_1", 512, 512, 3), ("conv5", 512, 512, 3),
    ("conv5_1", 512, 512, 3), ("conv6", 512, 1024, 3), ("conv6_1", 1024, 1024, 3),
)  # fmt: skip
_MEAN = torch.tensor([0.45, 0.432, 0.411], dtype=torch.float64)[:, None, None]


def pinard_state(*, batch_norm: bool, seed: int = 0) -> State:
    """Return the state_dict of a FlowNetS with 1/16 of the channels and random weights."""
    generator = torch.Generator().manual_seed(seed)

    def values(*shape: int, scale: float = 1.0, offset: float = 0.0) -> Tensor:
        return torch.randn(*shape, generator=generator) * scale + offset

    state: State = {}
    for name, in_channels, out_channels, side in _CONVOLUTIONS:
        i, o = in_channels if in_channels == 6 else _thin(in_channels), _thin(out_channels)
        state[f"{name}.0.weight"] = values(o, i, side, side, scale=(2 / (i * side**2)) ** 0.5)
        if not batch_norm:
            state[f"{name}.0.bias"] = values(o, scale=0.02)
            continue
        for part, scale, offset in (
            ("weight", 0.2, 1),
            ("bias", 0.05, 0),
            ("running_mean", 0.05, 0),
        ):
            state[f"{name}.1.{part}"] = values(o, scale=scale, offset=offset)
        state[f"{name}.1.running_var"] = values(o, scale=0.2).abs() + 0.8
        state[f"{name}.1.num_batches_tracked"] = torch.tensor(1000)
    for level, skip, out in (
        (5, 1024, 512),
        (4, 512 + 512, 256),
        (3, 512 + 256, 128),
        (2, 256 + 128, 64),
    ):
        i = _thin(skip) + (0 if level == 5 else 2)
        state[f"deconv{level}.0.weight"] = values(i, _thin(out), 4, 4, scale=(2 / (4 * i)) ** 0.5)
        state[f"upsampled_flow{level + 1}_to_{level}.weight"] = values(2, 2, 4, 4, scale=0.2)
        state[f"predict_flow{level + 1}.weight"] = values(2, i, 3, 3, scale=(0.2 / (9 * i)) ** 0.5)
    i = _thin(128 + 64) + 2
    state["predict_flow2.weight"] = values(2, i, 3, 3, scale=(0.2 / (9 * i)) ** 0.5)
    return state


def pinard_flow(state: State, images: Tensor, *, scale: float, bgr: bool) -> Tensor:
    """Return the flow (1, H, W, 2) in pixels of two RGB images (2, H, W, 3) uint8."""
    weights = {name: value.double() for name, value in state.items()}
    planes = images.permute(0, 3, 1, 2).double() / 255 - _MEAN  # the mean has the order RGB
    maps = {"": torch.cat(list(planes.flip(1) if bgr else planes))[None]}
    x = maps[""]
    for name, *_ in _CONVOLUTIONS:
        x = _convolved(weights, name, x, stride=1 if "_" in name else 2)
        maps[name] = x
    flow = F.conv2d(x, weights["predict_flow6.weight"], padding=1)
    for level, skip in ((5, "conv5_1"), (4, "conv4_1"), (3, "conv3_1"), (2, "conv2")):
        up = weights[f"upsampled_flow{level + 1}_to_{level}.weight"]
        deconvolved = F.conv_transpose2d(x, weights[f"deconv{level}.0.weight"], None, 2, 1)
        raised = F.conv_transpose2d(flow, up, None, 2, 1)
        x = torch.cat((maps[skip], F.leaky_relu(deconvolved, 0.1), raised), 1)
        flow = F.conv2d(x, weights[f"predict_flow{level}.weight"], padding=1)
    large = F.interpolate(flow * scale, scale_factor=4.0, mode="bilinear", align_corners=False)
    return large.permute(0, 2, 3, 1)


def _thin(channels: int) -> int:
    return round(channels * WIDTH)


def _convolved(weights: State, name: str, x: Tensor, *, stride: int) -> Tensor:
    kernel = weights[f"{name}.0.weight"]
    x = F.conv2d(x, kernel, weights.get(f"{name}.0.bias"), stride, kernel.shape[-1] // 2)
    if f"{name}.1.weight" in weights:
        x = F.batch_norm(
            x,
            weights[f"{name}.1.running_mean"],
            weights[f"{name}.1.running_var"],
            weights[f"{name}.1.weight"],
            weights[f"{name}.1.bias"],
        )
    return F.leaky_relu(x, 0.1)
