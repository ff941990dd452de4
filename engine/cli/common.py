"""Options and output shared by the verbs. Imports the standard library only, as ``doctor`` does."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

# What `ArgumentParser.add_subparsers` returns.
Commands = Any


def add_command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int],
    *,
    help: str,
    epilog: str,
) -> argparse.ArgumentParser:
    """Add a verb with the options that choose bundle, GPU and threads; return its parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description=help[0].upper() + help[1:] + ".",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    parser.add_argument("--bundle", type=Path, help="bundle folder (default: the one that ships)")
    parser.add_argument("--device", type=int, default=0, help="index of the GPU (default: 0)")
    parser.add_argument(
        "--threads", type=int, help="CPU threads (default: all that the process may use)"
    )
    return parser


def printable(value: object) -> str:
    """Return ``value`` as text in which bytes of file names that are not UTF-8 are escaped."""
    return str(value).encode(errors="backslashreplace").decode()
