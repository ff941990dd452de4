"""A bar on terminals, nothing elsewhere; what is printed meanwhile keeps its place."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.system.progress import progress_bar, track

ROOT = Path(__file__).parents[3]
CODE = """
import sys
from engine.system.progress import progress_bar, track
with progress_bar("first", {total}, completed=1) as advance:
    print("result")
    advance("second")
print(list(track(range(2), "items")))
"""


def run_on_a_terminal(code: str, *, stdout_too: bool) -> tuple[str, str]:
    """Return what a program prints on a terminal and in a pipe, if its stdout is one."""
    pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stderr=theirs,
        stdout=theirs if stdout_too else subprocess.PIPE,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            chunk = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        shown += chunk
    piped = b"" if process.stdout is None else process.stdout.read()
    os.close(ours)
    assert process.wait() == 0
    return shown.decode(), piped.decode()


@pytest.mark.parametrize("total", [3, None])
def test_a_terminal_shows_text_and_count(total: int | None) -> None:
    shown, piped = run_on_a_terminal(CODE.format(total=total), stdout_too=False)
    assert "second" in shown
    assert ("2/3" in shown) == (total is not None)
    assert piped == "result\n[0, 1]\n"
    both, _ = run_on_a_terminal(CODE.format(total=total), stdout_too=True)
    assert "result\r\n" in both


def test_elsewhere_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("text", 2) as advance:
        advance(None)
        advance("more")
    assert list(track("ab", "letters")) == ["a", "b"]
    assert capsys.readouterr() == ("", "")


def test_a_bar_needs_no_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert list(track("ab", "letters")) == ["a", "b"]
