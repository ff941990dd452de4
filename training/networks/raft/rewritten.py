"""Convolutions of RAFT rewritten for deployment, without change of what they compute."""

import copy
from typing import cast

from torch import Tensor, cat, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from training.networks.raft.encoder import Encoder
from training.networks.raft.lookup import LEVELS


def with_inputs(convs: list[nn.Conv2d], inputs: slice | list[int], *, bias: bool) -> nn.Conv2d:
    """Return one convolution with the outputs of all of them, of some input channels."""
    weight = cat([conv.weight.detach()[:, inputs] for conv in convs])
    rows, columns = convs[0].kernel_size
    one = nn.Conv2d(
        *(weight.shape[1], weight.shape[0], (rows, columns)),
        padding=(rows // 2, columns // 2),
        bias=bias,
    )
    one.weight.data = weight
    if one.bias is not None:
        one.bias.data = cat([cast(Tensor, conv.bias).detach() for conv in convs])
    return one


def columns_inside(conv: nn.Conv2d, side: int) -> nn.Conv2d:
    """Return a 1x1 convolution whose inputs' windows have their columns inside."""
    weight = conv.weight.detach()
    windows = weight.reshape(-1, LEVELS, side, side).transpose(2, 3)
    return _rearranged(conv, windows.reshape(weight.shape), cast(Tensor, conv.bias).detach())


def neighbours_inside(mask: nn.Sequential) -> nn.Sequential:
    """Return the mask's layers with neighbours inside the 8x8 pixels, not outside."""
    first, activation, last = mask
    weight, bias = cast(Tensor, last.weight).detach(), cast(Tensor, last.bias).detach()
    weight = weight.reshape(9, 64, *weight.shape[1:]).transpose(0, 1).reshape(weight.shape)
    bias = bias.reshape(9, 64).T.reshape(-1)
    return nn.Sequential(first, activation, _rearranged(cast(nn.Conv2d, last), weight, bias))


def _rearranged(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    other = nn.Conv2d(weight.shape[1], weight.shape[0], 1)
    other.weight.data, other.bias = weight.contiguous(), nn.Parameter(bias.contiguous())
    return other


def without_batch_norm(encoder: Encoder) -> Encoder:
    """Return a copy whose batch normalisations are part of the convolutions before them."""
    encoder = copy.deepcopy(encoder).eval()
    for module in list(encoder.modules()):
        for name, norm in list(module.named_children()):
            if isinstance(norm, nn.BatchNorm2d):
                before = "0" if name == "1" else name.replace("norm", "conv")
                convolution = cast(nn.Conv2d, module.get_submodule(before))
                setattr(module, before, fuse_conv_bn_eval(convolution, norm))
                setattr(module, name, nn.Identity())
    return encoder
