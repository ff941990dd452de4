"""Muon for the kernels that are matrices of some size, AdamW for the rest.

Muon (https://kellerjordan.github.io/posts/muon) gives all directions of a matrix's update the same
length. From noise, 1,200 steps of it bring a network as far as some 1,800 of AdamW.
"""

from typing import Any

import torch
from torch import Tensor, nn

# A flow head has two rows, and as many directions: nothing to even out.
_FEWEST_ROWS = 6


class Optimizer:
    """Both optimizers as one, with the part of `torch.optim.Optimizer` that training needs.

    Args:
        network: what to train; its kernels lie in memory as channels last.
        lr: learning rate; Muon's updates are scaled to the size of AdamW's, so one serves both.
        weight_decay: of kernels; biases are not decayed, as in the papers.
    """

    def __init__(self, network: nn.Module, *, lr: float, weight_decay: float) -> None:
        parameters = list(network.parameters())
        kernels = [p for p in parameters if p.dim() > 1]
        self._matrices = [(p, _matrix(p)) for p in kernels if min(p.shape[:2]) >= _FEWEST_ROWS]
        few = [p for p in kernels if min(p.shape[:2]) < _FEWEST_ROWS]
        biases = [p for p in parameters if p.dim() <= 1]
        groups: list[dict[str, Any]] = [
            {"params": few, "weight_decay": weight_decay},
            {"params": biases},
        ]
        self._parts = (
            torch.optim.Muon(
                [matrix for _, matrix in self._matrices],
                lr=lr,
                weight_decay=weight_decay,
                adjust_lr_fn="match_rms_adamw",
            ),
            torch.optim.AdamW(groups, lr=lr, weight_decay=0.0, fused=True),
        )

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Of both, to set the learning rate in."""
        return [group for part in self._parts for group in part.param_groups]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for kernel, _ in self._matrices:
            kernel.grad = None
        for part in self._parts:
            part.zero_grad()

    def step(self) -> None:
        """Update the network by its gradients."""
        for kernel, matrix in self._matrices:
            matrix.grad = None if kernel.grad is None else _rows(kernel.grad)
        for part in self._parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` takes."""
        return {type(part).__name__: part.state_dict() for part in self._parts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from an earlier `state_dict`."""
        for part in self._parts:
            part.load_state_dict(state[type(part).__name__])


def _matrix(kernel: nn.Parameter) -> nn.Parameter:
    """The kernel as a matrix in the same memory: updating one updates the other."""
    matrix = nn.Parameter(_rows(kernel.detach()))
    if matrix.data_ptr() != kernel.data_ptr():
        raise ValueError("expected a network in torch.channels_last memory format")
    return matrix


def _rows(kernel: Tensor) -> Tensor:
    """(rows, C, H, W) -> (rows, H * W * C), without a copy where channels are last in memory."""
    return kernel.permute(0, 2, 3, 1).flatten(1)
