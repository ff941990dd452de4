"""The true flows and masks that belong to pictures by their names."""

from dataclasses import dataclass
from pathlib import Path

from engine.data.listing import list_files, pictures
from engine.data.pair import PairsError
from engine.flow.formats import FLOW_SUFFIXES


@dataclass(frozen=True)
class Companions:
    """Files that belong to pictures by their names: true flows or masks of one folder.

    Attributes:
        kind: what they are, for messages.
        folder: where they are.
        files: by name without suffix; None in a data set that comes without them.
    """

    kind: str
    folder: Path
    files: dict[str, Path] | None

    def of(self, name: str, image: Path) -> Path | None:
        """Return the file of a picture, None in a data set without such files.

        Raises:
            PairsError: There are such files, but not of this picture.
        """
        if self.files is None:
            return None
        if name not in self.files:
            raise PairsError(
                f"{image} has no {self.kind}; expected {self.folder / name}.*, as the data set is "
                "published: restore it or remove the image"
            )
        return self.files[name]


def flows(folder: Path) -> Companions:
    """List the flow files; of several formats of one name the first in `FLOW_SUFFIXES` counts.

    Raises:
        PairsError: The folder does not exist.
    """
    if not folder.is_dir():
        raise PairsError(f"{folder} does not exist; expected a folder of true flow: unpack it")
    files = list_files(folder, FLOW_SUFFIXES)
    files.sort(key=lambda path: FLOW_SUFFIXES.index(path.suffix.lower()), reverse=True)
    return Companions("true flow", folder, {path.stem: path for path in files})  # the last stays


def no_flows(folder: Path) -> Companions:
    """Return the flow files of a test split, whose flow is not published."""
    return Companions("true flow", folder, None)


def masks(folder: Path, scene: str = "") -> Companions:
    """List the masks of a scene below a folder, none if the folder does not exist.

    Raises:
        PairsError: The folder exists, but the scene is missing in it.
    """
    files = pictures(folder / scene) if folder.is_dir() else None
    return Companions("mask", folder / scene, files)
