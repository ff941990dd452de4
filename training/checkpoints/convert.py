"""From a recognised file to the tensors of this project's network."""

from collections import Counter
from pathlib import Path

import torch
from torch import Tensor

from engine.errors import one_line
from training.checkpoints.files import CheckpointError, Contents
from training.checkpoints.layout import Origin
from training.checkpoints.recognise import FLOATS, Match, recognise
from training.checkpoints.stated import Stated
from training.checkpoints.words import shown, some, some_names, tensors
from training.networks.registry import NETWORKS


def recognised(path: Path, contents: Contents, stated: Stated | None = None) -> Match:
    """Return which network a file is of.

    Args:
        path: the file, for messages.
        contents: what it holds.
        stated: facts that hold whatever the file says.

    Raises:
        CheckpointError: it is of no known network, or a fact in it cannot be used.
    """
    try:
        match = recognise(contents, stated)
    except ValueError as error:
        raise CheckpointError(f"{path}: {one_line(error)}") from error
    if not match.is_known:
        nearest = (
            f". The nearest is {match.network} of {match.layout.publisher}: it has "
            f"{match.shared} of that network's {match.expected} names"
        )
        raise CheckpointError(
            f"{path}: not of a known network; its {len(contents.tensors)} tensors have names such "
            f"as {some_names(list(contents.tensors)[:2])}{nearest if match.shared else ''}. "
            f"Known networks: {', '.join(NETWORKS)}"
        )
    return match


def fault(match: Match) -> str | None:
    """Return why a network cannot be made of a file, None if it can; left over tensors aside."""
    kind = f"a {match.network} of {match.layout.publisher}"
    if match.missing:
        return (
            f"{kind} has {match.expected} tensors, {len(match.missing)} of which are missing: "
            f"{some_names(match.missing)}. Take the whole checkpoint"
        )
    if match.wrong:
        shapes = [
            f"{shown(name)} is {found}, expected {expected}"
            for name, (found, expected) in match.wrong.items()
        ]
        return (
            f"{tensors(len(match.wrong))} with shapes or types other than those of {kind}: "
            f"{some(shapes, '; ')}"
        )
    return None


def check_values(path: Path, contents: Contents) -> None:
    """Check that all values are finite.

    Raises:
        CheckpointError: some are not.
    """
    if bad := not_finite(contents):
        raise CheckpointError(
            f"{path}: {tensors(len(bad))} with values that are NaN or infinite: {some(bad)}. "
            "Take an earlier checkpoint of that training"
        )


def not_finite(contents: Contents) -> list[str]:
    """Return the names of the tensors with a NaN or an infinity, and how many they have."""
    return [
        f"{shown(name)} ({count} of {value.numel()})"
        for name, value in contents.tensors.items()
        if value.dtype in FLOATS and (count := _bad_values(value))
    ]


def _bad_values(value: Tensor) -> int:
    # The sum is finite if all values are, except for rare overflows: one pass without a copy.
    if torch.isfinite(value.sum(dtype=torch.float64)):
        return 0
    return int((~torch.isfinite(value)).sum())


def convert(path: Path, contents: Contents, match: Match, *, drop_extra: bool) -> dict[str, Tensor]:
    """Return the network's tensors under the names of this project, float16 or float32.

    Tensors that are taken as they are share their memory with ``contents``.

    Args:
        path: the file, for messages.
        contents: what it holds.
        match: what it was recognised as.
        drop_extra: whether tensors that the network has no place for are left out.

    Raises:
        CheckpointError: tensors are missing, left over, of other shapes or not finite.
    """
    if reason := fault(match):
        raise CheckpointError(f"{path}: {reason}")
    if match.left_over and not drop_extra:
        raise CheckpointError(
            f"{path}: {tensors(len(match.left_over))} without a place in a {match.network}: "
            f"{some_names(match.left_over)}. If the network was not modified, leave them out with "
            "`python -m training.weights convert --drop-extra`"
        )
    check_values(path, contents)
    made = {
        name: _float(origin.compute(*(_read(contents, key, origin) for key in origin.tensors)))
        for name, origin in match.origins.items()
    }
    _check_made(path, match, made)
    return made


def _read(contents: Contents, name: str, origin: Origin) -> Tensor:
    value = contents.tensors[name]
    # Arithmetic in half precision would round, and a factor could leave its range.
    return value.float() if origin.rule and value.dtype in FLOATS else value


def _check_made(path: Path, match: Match, made: dict[str, Tensor]) -> None:
    """Check what was computed: batch norm has no root of a negative variance, and so on."""
    computed = [name for name, origin in match.origins.items() if origin.rule]
    bad = [name for name in computed if _bad_values(made[name])]
    if bad:
        raise CheckpointError(
            f"{path}: {tensors(len(bad))} that would be NaN or infinite ({some_names(bad)}) after: "
            f"{match.origins[bad[0]].rule}. Take an earlier checkpoint of that training"
        )


def changes(match: Match) -> dict[str, int]:
    """Return what happens to tensors beside renaming -> how many tensors."""
    return dict(Counter(origin.rule for origin in match.origins.values() if origin.rule))


def _float(value: Tensor) -> Tensor:
    if value.is_floating_point() and value.dtype != torch.float16:
        value = value.to(torch.float32)
    return value.detach()
