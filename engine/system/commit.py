"""The git commit of the project's sources, for the records of what was measured and trained."""

import os
import subprocess
from pathlib import Path

# Environment variable: the commit of sources without their repository, in a container for example.
COMMIT = "FLOW_COMMIT"


def project_commit() -> str | None:
    """Return the commit, ending in "-dirty" where files differ from it; None: it is not known.

    A package that is installed inside somebody's checkout, which does not track it, has no commit.
    """
    if given := os.environ.get(COMMIT):
        return given
    here = Path(__file__)
    try:
        if _git("ls-files", "--error-unmatch", here.name, folder=here.parent).returncode:
            return None
        found = _git("describe", "--always", "--dirty", folder=here.parent)
    except FileNotFoundError:  # no git
        return None
    return found.stdout.strip() or None


def _git(*arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
