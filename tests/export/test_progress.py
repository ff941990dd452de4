import re

import pytest

from export.progress import step


def test_a_step_prints_one_line_with_its_result_and_seconds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with step("export") as current:
        current.result = "53 nodes"
    assert re.fullmatch(r"export     53 nodes  \([0-9.]+ s\)\n", capsys.readouterr().out)


def test_a_step_that_fails_prints_no_result(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), step("export"):
        raise RuntimeError
    assert not capsys.readouterr().out


def test_on_a_terminal_the_line_is_ticked_and_then_replaced(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with step("export") as current:
        current.result = "53 nodes"
    assert "\033[2K\rexport     53 nodes  (" in capsys.readouterr().out
