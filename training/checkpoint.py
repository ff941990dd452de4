"""Checkpoints of training runs: written atomically, and checked against the configuration."""

from pathlib import Path
from typing import Any

import torch

from engine.errors import one_line
from engine.system.files import replacing
from training.checkpoints.unpickling import check_sums
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
        "only": ",".join(config.only),
    }
    try:
        with replacing(path) as partial, partial.open("wb") as file:
            torch.save({"facts": facts, "state": state}, file)
    except (OSError, RuntimeError) as error:
        raise _not_written(path, error) from error


def _not_written(path: Path, error: Exception) -> OSError:
    """Return the cause: PyTorch's own error for a full disk names positions in the file alone."""
    cause = error if isinstance(error, OSError) else error.__context__
    reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else one_line(error)
    return OSError(f"{path} cannot be written: {reason}. Free space, or make the folder writable")


def damaged(path: Path, how: str) -> TrainingError:
    """Return the error of a checkpoint that cannot be continued from."""
    return TrainingError(
        f"{path} is damaged: {how}. Restore a copy of it, or delete it to start the run again"
    )


def load_checkpoint(
    path: Path, config: TrainingConfig, initial: str, device: torch.device
) -> dict[str, Any] | None:
    """Return the state of a run to continue; None if there is no checkpoint.

    Raises:
        TrainingError: the checkpoint is of another run, or damaged.
        OSError: it cannot be read.
    """
    if not path.exists():
        return None
    content = _content(path, device)
    facts = content.get("facts", {})
    elsewhere = "choose another --out to start a new run"
    if not isinstance(facts, dict) or facts.get("version") != _VERSION:
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
    only = facts.get("only", "")  # all, before it was an option
    if only != ",".join(config.only):
        raise TrainingError(
            f"{path} is a run {f'with --only {only}' if only else 'without --only'}; give the same "
            f"to continue it, or {elsewhere}"
        )
    # The licence of the weights depends on all data that they were trained on.
    if facts["data"] != config.data:
        raise TrainingError(
            f"{path} is a run on --data {facts['data']}; give the same to continue it, or "
            f"{elsewhere}"
        )
    state: dict[str, Any] = content["state"]
    return state


def _content(path: Path, device: torch.device) -> dict[str, Any]:
    try:
        check_sums(path)
        content = torch.load(path, map_location=device, weights_only=True)
    except OSError:
        raise
    # PyTorch and zipfile raise many kinds of exceptions for damaged files.
    except Exception as error:
        raise damaged(path, one_line(error)) from error
    if not isinstance(content, dict):
        raise damaged(path, f"it holds a {type(content).__name__}; expected a dict")
    return content
