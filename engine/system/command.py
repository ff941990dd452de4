"""The process of a command: its output, Ctrl-C, missing packages and its exit status."""

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn, TextIO

INTERRUPTED = 128 + signal.SIGINT
_FAILED = 1
_SCRIPTS = ("flow", "flownet-engine")
# Which extra has what the commands of a package need.
_EXTRAS = {"bench": "bench", "export": "export", "training": "training"}
# Longer, and what runs is native code that Python's handler of the signal waits for.
_PATIENCE = 0.7  # seconds


def run(main: Callable[[], int | None]) -> NoReturn:
    """Run a command and end the process with the status that it returns.

    Printing never raises: characters that the terminal's encoding does not have are escaped, and
    what a closed pipe or a full disk does not take is dropped. The status is then 1, with a message
    unless the reader has gone. Ctrl-C raises KeyboardInterrupt, and ends the process after 0.7 s
    where native code does not let it.
    """
    sys.stdout, sys.stderr = output, errors = _Output(sys.stdout, 1), _Output(sys.stderr, 2)
    _end_soon_after_interrupt()
    try:
        status = main() or 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = INTERRUPTED
    except SystemExit as end:  # of argparse
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    status = output.finished(status)
    errors.finished(status)
    sys.exit(status)


class _Output(io.TextIOWrapper):
    """A standard stream whose ``write`` and ``flush`` do not raise."""

    def __init__(self, stream: TextIO | None, descriptor: int) -> None:
        """Replace a stream; None: the process was started with it closed."""
        self._descriptor = descriptor
        self._failure: OSError | None = None
        self._replaced = stream  # would close the descriptor when collected
        super().__init__(
            open(os.devnull, "wb") if stream is None else stream.buffer,  # noqa: SIM115
            encoding="utf-8" if stream is None else stream.encoding,
            errors="backslashreplace",
            line_buffering=stream is not None and stream.isatty(),
        )

    def write(self, text: str) -> int:
        """Write, unless that has failed before."""
        if self._failure is None:
            try:
                return super().write(text)
            except OSError as error:
                self._failure = error
        return len(text)

    def flush(self) -> None:
        """Flush, unless writing has failed before."""
        if self._failure is None and not self.closed:
            try:
                super().flush()
            except OSError as error:
                self._failure = error

    def finished(self, status: int) -> int:
        """Flush; return ``status``, or 1 if it is 0 and something was not written."""
        self.flush()
        if self._failure is None:
            return status
        if not isinstance(self._failure, BrokenPipeError) and self._descriptor == 1:
            print(f"standard output is incomplete: {self._failure.strerror}", file=sys.stderr)
        # What is left in the buffer would raise at the end of the interpreter.
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._descriptor)
        return status or _FAILED


def hide_tracebacks() -> None:
    """Let a command end without a traceback at Ctrl-C during its imports, or without a package.

    Does nothing in other programs: ``sys.argv`` names a command, or is ``-m`` while Python locates
    the module (https://docs.python.org/3/using/cmdline.html#cmdoption-m).
    """
    if {os.path.basename(name) for name in sys.argv[:1]} & {"-m", *_SCRIPTS}:
        sys.excepthook = _show


def _show(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__context__  # NumPy's import, interrupted, ends with an ImportError
    if cause is not None:
        print("interrupted", file=sys.stderr)
    elif isinstance(error, ModuleNotFoundError) and (advice := _advice(error.name or "")):
        print(f"error: {advice}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)


def _advice(missing: str) -> str | None:
    """Return how to install what the running command cannot import; None: nothing is known."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    command = "" if spec is None else spec.name.removesuffix(".__main__")
    extra = _EXTRAS.get(command.partition(".")[0])
    if extra is None or "." in missing or missing in ("", "engine", "kernels", *_EXTRAS):
        return None  # no command of ours, or a fault in our own modules
    return f"python -m {command} needs the package {missing}: pip install 'flownet-engine[{extra}]'"


def _end_soon_after_interrupt() -> None:
    """Raise KeyboardInterrupt at SIGINT; where native code defers that, end the process."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts background jobs
        return
    handled = threading.Event()

    def interrupt(*_: object) -> NoReturn:
        handled.set()
        raise KeyboardInterrupt

    def watch() -> None:
        while os.read(receiver, 1)[0] != signal.SIGINT:
            pass
        time.sleep(_PATIENCE)
        if not handled.is_set():
            os.write(2, b"interrupted\n")
            os._exit(INTERRUPTED)

    receiver, sender = os.pipe()
    os.set_blocking(sender, False)
    signal.signal(signal.SIGINT, interrupt)
    signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
    threading.Thread(target=watch, daemon=True).start()
