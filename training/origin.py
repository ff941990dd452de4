"""Where weights come from: what goes into the header of their file."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

SOURCE = "trained with python -m training.train"


def origin_of(data: str, steps: int, before: Mapping[str, str] | None) -> dict[str, str]:
    """Say what weights were trained on, by whom, how long, and who may use them.

    Args:
        data: ``synthetic``, or the data set.
        steps: how many steps of it.
        before: metadata of the weights that training began with; None where it began with noise.

    Returns:
        The keys licence, source, data, steps and commit of `training.weights.METADATA_KEYS`. Where
        the data are the same as before, the steps are added up.
    """
    # Nobody's rights are in procedural pairs; those in a data set are its authors'.
    licence = "MIT" if data == "synthetic" else f"as of {data}"
    origin = {
        "licence": licence,
        "source": SOURCE,
        "data": data,
        "steps": str(steps),
        "commit": _commit(),
    }
    if before is None:
        return origin
    origin["licence"] = " and ".join(dict.fromkeys((*before["licence"].split(" and "), licence)))
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


def _commit() -> str:
    """Return the source's git commit, or "unknown" outside a checkout."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return "unknown"
    return found.stdout.strip() or "unknown"
