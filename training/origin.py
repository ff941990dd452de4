"""Provenance of weights, for the header of their file."""

from collections.abc import Mapping
from pathlib import Path

from engine.system.commit import project_commit

SOURCE = "trained with python -m training.train"


def origin_of(data: str, steps: int, before: Mapping[str, str] | None) -> dict[str, str]:
    """Return what weights were trained on, for how long, and their licence.

    Args:
        data: ``synthetic``, or ``kind:FOLDER``, of which only the folder's name is kept.
        steps: number of training steps.
        before: metadata of the initial weights; None: random initialisation.

    Returns:
        The keys licence, source, data, steps and commit of `training.weights.METADATA_KEYS`. Steps
        on the same data are added up.
    """
    kind, _, folder = data.partition(":")
    data = f"{kind}:{Path(folder).resolve().name}" if folder else kind
    # Procedural pairs have no other rights holder; data sets have.
    licence = "MIT" if data == "synthetic" else f"as of {data}"
    origin = {
        "licence": licence,
        "source": SOURCE,
        "data": data,
        "steps": str(steps),
        "commit": project_commit() or "unknown",
    }
    if before is None:
        return origin
    known = before["licence"]
    origin["licence"] = known if _lists(known, licence) else f"{known} and {licence}"
    if before["source"] != SOURCE:
        origin["source"] = f"{SOURCE}, from {before['source']}"
    *earlier, last = before["steps"].split(" + ")
    if before["data"].split(", then ")[-1] == data and last.isdecimal():
        origin["data"] = before["data"]
        origin["steps"] = " + ".join((*earlier, str(int(last) + steps)))
    else:
        origin["data"] = f"{before['data']}, then {data}"
        origin["steps"] = f"{before['steps']} + {steps}"
    return origin


def _lists(licences: str, licence: str) -> bool:
    """Return whether a licence is one of those joined by "and"."""
    return f" and {licence} and " in f" and {licences} and "
