"""Checkpoints of ClementPinard/FlowNetPytorch and NVIDIA/flownet2-pytorch.

Both use this project's parameter names. Pinard's flow heads, deconvolutions and, in FlowNetC, flow
upsampling layers have no bias, and his images are normalised by a fixed mean; NVIDIA's layers have
biases, and the images are normalised by the mean of the pair.
"""

import torch
from torch import Tensor


def convert(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Return the state_dict with zero biases where the layout has none, and its normalisation."""
    state = {name.removeprefix("module."): value for name, value in state.items()}
    if any(name.startswith("predict_flow") and name.endswith("bias") for name in state):
        return state, "pair_mean"
    is_flownetc = "conv_redir.0.weight" in state
    transposed = ("deconv", *(("upsampled_flow",) if is_flownetc else ()))
    for name, value in list(state.items()):
        bias = name.replace("weight", "bias")
        if name.startswith("predict_flow"):
            state[bias] = torch.zeros(value.shape[0])
        elif name.startswith(transposed):
            state[bias] = torch.zeros(value.shape[1])
    return state, "fixed_mean"
