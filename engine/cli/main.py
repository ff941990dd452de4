"""The command ``flow``: parse the command line, run a verb, report errors."""

import argparse
import errno
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import engine
from engine.cli import (
    common,
    convert,
    doctor,
    evaluate,
    extract,
    folder,
    infer,
    score,
    serve,
    show,
    video,
    web,
)
from engine.errors import EngineError, sentence
from engine.system import command
from engine.system.argument_parser import UsageError

_EPILOG = """examples:
  flow infer frame1.png frame2.png -o flow.flo --picture flow.png
  flow video dance.mp4 -o dance-flow.mp4
  flow folder frames --flow flows --format .png
  flow show flow.flo -o flow.png
  flow convert flows npz --format .npz
  flow eval flow.flo truth.flo
  flow score clips --json
  flow extract clips -o flows
  flow serve
  flow web build/browser
  flow doctor

flow COMMAND --help explains a command, with more examples.
exit status: 0 success, 1 error, 2 wrong usage, 130 interrupted; errors are one line on stderr"""

_ADVICE = {
    errno.ENOSPC: "Free space on the disk, or write elsewhere.",
    errno.EACCES: "Change its permissions, or choose another name.",
    errno.EROFS: "Write elsewhere.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
}
_LONGEST_NAME = 200  # characters that are printed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; errors are printed as one line on stderr."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(logging.Formatter("flow: note: %(message)s"))
    try:
        options = _parser().parse_args(arguments)
        code: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has ended, as `head` does. Nothing is left to say, nor at the exit to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except UsageError as error:
        print(f"flow: {common.printable(sentence(str(error)))}", file=sys.stderr)
        return 2
    except (EngineError, OSError) as error:
        print(f"flow: {common.printable(sentence(_text(error)))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        print(f"flow: {sentence(str(interrupt) or 'interrupted')}", file=sys.stderr)
        return command.INTERRUPTED
    return code


def script() -> NoReturn:
    """Run the installed command ``flow``."""
    command.run(main)


def _text(error: Exception) -> str:
    """Return an error's text; that of the operating system with the file first."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error) or type(error).__name__
    file = "" if error.filename is None else f"{_short(error.filename)}: "
    return f"{file}{error.strerror}. {_ADVICE.get(error.errno or 0, '')}".strip()


def _short(name: object) -> str:
    text = str(name)
    return text if len(text) <= _LONGEST_NAME else f"{text[:40]}... of {len(text)} characters"


def _parser() -> argparse.ArgumentParser:
    parser = common.Parser(
        prog="flow",
        description="Optical flow of images, videos and folders of pictures.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=engine.__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for verb in (infer, video, folder, show, convert, evaluate, score, extract, serve, web, doctor):
        verb.add_command(commands)
    return parser
