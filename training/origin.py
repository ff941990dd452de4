"""Where weights come from: what goes into the header of their file."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

SOURCE = "trained with python -m training.train"


def origin_of(data: str, steps: int, before: Mapping[str, str] | None) -> dict[str, str]:
    """Say what weights were trained on, by whom, how long, and who may use them.

    Args:
        data: ``synthetic``, or the data set as ``kind:FOLDER``, of which the last name is kept: a
            path of this machine is nobody's business.
        steps: how many steps of it.
        before: metadata of the weights that training began with; None where it began with noise.

    Returns:
        The keys licence, source, data, steps and commit of `training.weights.METADATA_KEYS`. Where
        the data are the same as before, the steps are added up.
    """
    kind, _, folder = data.partition(":")
    data = f"{kind}:{Path(folder).resolve().name}" if folder else kind
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
    """Whether a licence is one of those joined by "and"; a data set's name may have one too."""
    return f" and {licence} and " in f" and {licences} and "


def _commit() -> str:
    """Return the source's git commit, or "unknown" outside a checkout.

    In an environment inside somebody else's checkout, git would tell theirs.
    """
    here = Path(__file__)
    try:
        if _git("ls-files", "--error-unmatch", here.name, folder=here.parent).returncode:
            return "unknown"
        return _git("describe", "--always", "--dirty", folder=here.parent).stdout.strip()
    except FileNotFoundError:
        return "unknown"


def _git(*arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
