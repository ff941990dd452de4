import os
from pathlib import Path

import pytest

from engine.system.hidden_names import hidden_stem


def test_short_names_stay():
    assert hidden_stem(Path("a/b.mp4")) == ".b.mp4"


@pytest.mark.parametrize("letter", ["a", "é", "\udcff"])  # the last is no UTF-8
def test_long_names_leave_room_and_differ(tmp_path, letter):
    names = [letter * (size // len(os.fsencode(letter))) for size in (222, 246, 254)]
    stems = [hidden_stem(tmp_path / name) for name in names]
    assert len({*stems}) == 3
    for name, stem in zip(names, stems, strict=True):
        assert stem == hidden_stem(tmp_path / name)
        (tmp_path / f"{stem}.{10**7}.journal.json").touch()
