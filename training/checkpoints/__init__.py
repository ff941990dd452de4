"""Published PyTorch checkpoints, read without running code from the file."""

from pathlib import Path

import torch
from torch import Tensor

from training.checkpoints import flownet


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], str]:
    """Read a checkpoint (.pt, .pth, .tar) of the FlowNet family.

    Only tensors and plain values are unpickled.

    Returns:
        The state_dict with this project's parameter names, and the name of the normalisation that
        the weights were trained with (`training.normalise.NORMALISATIONS`).

    Raises:
        ValueError: the file is not such a checkpoint.
        OSError: the file cannot be read.
    """
    return flownet.convert(_state_dict(path))


def _state_dict(path: Path) -> dict[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    # torch.load raises many kinds of exceptions for damaged files, and its message for a file with
    # code in it recommends to allow the code.
    except Exception as error:
        raise ValueError(
            f"{path}: not a checkpoint of plain tensors; it is damaged, of another format, or "
            "contains objects other than tensors, which may run code. Download it again, or save "
            "its state_dict alone"
        ) from error
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if (
        not isinstance(state, dict)
        or not state
        or not all(isinstance(name, str) for name in state)
        or not all(isinstance(value, Tensor) for value in state.values())
    ):
        raise ValueError(f"{path}: holds no state_dict; expected parameter names and tensors")
    return state
