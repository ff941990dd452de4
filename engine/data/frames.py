"""The frames of a video as pictures in one folder, without flow."""

from pathlib import Path

from engine.data.chairs import consecutive
from engine.data.data_set import DataSet
from engine.data.files import PairFiles
from engine.data.listing import pictures


def _find_pairs(folder: Path, _: str | None, __: str | None) -> list[PairFiles]:
    frames = list(pictures(folder).values())
    return [
        PairFiles(name, one, two, None, sequence=folder.name)
        for name, one, two in consecutive(frames)
    ]


FRAMES = DataSet("frames", _find_pairs, layout="pictures, frame1.png before frame2.png")
