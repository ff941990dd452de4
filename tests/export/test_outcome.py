"""Exit codes and messages of builds that cannot be finished."""

import errno
import os
from collections.abc import Callable
from typing import NoReturn

import pytest

from export.outcome import exit_code


def raising(error: BaseException) -> Callable[[], None]:
    def command() -> NoReturn:
        raise error

    return command


def test_an_interrupted_build_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(raising(KeyboardInterrupt()), "the bundle was not built") == 130
    assert capsys.readouterr().err == "interrupted; the bundle was not built\n"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT])
def test_a_full_disk_is_said(capsys: pytest.CaptureFixture[str], number: int) -> None:
    error = OSError(number, os.strerror(number))
    assert exit_code(raising(error), "the bundle was not built") == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: the bundle was not built: {os.strerror(number)}. Free space")
