"""The fuzz targets in short: valid files are read, old finds and some mutations get an error."""

import itertools
from collections import Counter
from pathlib import Path

import pytest

from tests.fuzz.campaign import Result
from tests.fuzz.checking import CRASH, TIME, fault_of
from tests.fuzz.mutations import mutations
from tests.fuzz.progress import progress_line
from tests.fuzz.reader import folder_of, names, reader_named

_CORPUS = Path(__file__).parent / "corpus"
_MUTATIONS = 40


@pytest.fixture(params=names())
def reader(request):
    return reader_named(request.param)


def test_valid_files_are_read(reader):
    """Else mutations would test the first check only."""
    for seed in reader.seeds():
        reader.read(seed)


def test_mutations_are_read_or_refused(reader):
    for data in itertools.islice(mutations(reader.seeds(), 0), _MUTATIONS):
        assert _fault(reader, data) is None, data


@pytest.mark.parametrize("path", sorted(_CORPUS.glob("*/*.bin")), ids=lambda path: path.parent.name)
def test_what_was_found_once_is_refused(path):
    (name,) = (name for name in names() if folder_of(name) == path.parent.name)
    assert _fault(reader_named(name), path.read_bytes()) is None


def test_progress():
    results = [Result("video", inputs=6000), Result("flow .flo", 500, Counter({CRASH: 2}))]
    line = progress_line(results, passed=50, seconds=179)
    assert line == "6,500 inputs, 130 inputs/s, 2 faults, 2:09 left"
    assert progress_line(results, passed=50, seconds=169.8).endswith(" 2:00 left")


def _fault(reader, data):
    """Return what is wrong besides the time, which depends on what else the machine does."""
    fault = fault_of(reader, data)
    return None if fault is not None and fault.kind == TIME else fault
