"""Checkpoints of training runs: written atomically, and checked against the configuration."""

import os
from pathlib import Path
from typing import Any

import torch

from training.config import TrainingConfig, TrainingError

# Bumped when a run of an older version cannot be continued.
_VERSION = 2


def save_checkpoint(
    path: Path, config: TrainingConfig, initial: str, state: dict[str, Any]
) -> None:
    """Write a checkpoint.

    Args:
        path: the file.
        config: the run's configuration.
        initial: SHA-256 of the weights that the run started from, or "random".
        state: tensors and plain values.
    """
    facts = {
        "version": _VERSION,
        "network": config.network,
        "data": config.data,
        "initial": initial,
        "optimizer": config.optimizer,
    }
    partial = path.with_suffix(".partial")
    torch.save({"facts": facts, "state": state}, partial)
    os.replace(partial, path)


def load_checkpoint(
    path: Path, config: TrainingConfig, initial: str, device: torch.device
) -> dict[str, Any] | None:
    """Return the state of a run to continue; None if there is no checkpoint.

    Raises:
        TrainingError: the checkpoint is of another run.
    """
    if not path.exists():
        return None
    content = torch.load(path, map_location=device, weights_only=True)
    facts = content.get("facts", {})
    elsewhere = "choose another --out to start a new run"
    if facts.get("version") != _VERSION:
        raise TrainingError(f"{path} was written by another version of this project; {elsewhere}")
    if facts["network"] != config.network:
        raise TrainingError(
            f"{path} is a run of {facts['network']}, not of {config.network}; {elsewhere}"
        )
    if facts["initial"] != initial:
        raise TrainingError(
            f"{path} is a run that started from other weights (--init); give the same ones to "
            f"continue it, or {elsewhere}"
        )
    optimizer = facts.get("optimizer", "muon")  # the only one before it was an option
    if optimizer != config.optimizer:
        raise TrainingError(
            f"{path} is a run with --optimizer {optimizer}; give the same to continue it, or "
            f"{elsewhere}"
        )
    # The licence of the weights depends on all data that they were trained on.
    if facts["data"] != config.data:
        raise TrainingError(
            f"{path} is a run on --data {facts['data']}; give the same to continue it, or "
            f"{elsewhere}"
        )
    state: dict[str, Any] = content["state"]
    return state
