import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.evaluation.checkpoint import Checkpoint
from engine.system.argument_parser import UsageError

REQUEST = {"data": ["sintel clean"], "bundle": "ab"}
ENTRIES = [{"name": f"é/{i}\n", "ms": 0.1 + i, "sums": None} for i in range(3)]


@given(st.data())
def test_a_file_that_was_cut_anywhere_has_its_whole_lines(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("cut") / "result.json.partial"
    for entry in ENTRIES:
        Checkpoint(path, REQUEST).add(entry)
    content = path.read_bytes()
    cut = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:cut])
    whole = max(0, content[:cut].count(b"\n") - 1)
    continued = Checkpoint(path, REQUEST)
    assert continued.entries == ENTRIES[:whole]
    for entry in ENTRIES[whole:]:
        continued.add(entry)
    assert path.read_bytes() == content


@pytest.mark.parametrize("change", [{"bundle": "cd"}, {"data": ["sintel final"]}, {"more": 1}])
def test_another_request_is_refused(tmp_path, change):
    path = tmp_path / "x.partial"
    Checkpoint(path, REQUEST).add(ENTRIES[0])
    with pytest.raises(UsageError, match=f"with another {next(iter(change))} "):
        Checkpoint(path, REQUEST | change)
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.parametrize("content", ["[]\n", "3\n", "{}\n", "{\n", "\xff\n"])
def test_other_files_are_refused_and_kept(tmp_path, content):
    path = tmp_path / "x.partial"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError, match=r"x\.partial is (no checkpoint|of a run)"):
        Checkpoint(path, REQUEST)
    assert path.read_bytes() == content.encode("latin-1")


def test_without_a_path_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint = Checkpoint(None, REQUEST)
    checkpoint.add(ENTRIES[0])
    checkpoint.remove()
    assert checkpoint.entries == ENTRIES[:1]
    assert not list(tmp_path.iterdir())
