"""The frames of a video as pictures in one folder, without flow."""

from pathlib import Path

from engine.data.chairs import consecutive, no_pictures
from engine.data.data_set import DataSet
from engine.data.files import PairFiles
from engine.data.listing import PICTURE_SUFFIXES, by_stem, list_files


def _find_pairs(folder: Path, _: str | None, __: str | None) -> list[PairFiles]:
    files = list_files(folder, PICTURE_SUFFIXES)
    if not files:
        raise no_pictures(folder)
    return [
        PairFiles(name, one, two, None, sequence=folder.name)
        for name, one, two in consecutive(list(by_stem(files).values()))
    ]


FRAMES = DataSet("frames", _find_pairs, layout="pictures, frame1.png before frame2.png")
