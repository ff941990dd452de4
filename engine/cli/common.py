"""Options and output shared by the verbs. Imports the standard library only, as ``doctor`` does."""

import argparse
from collections.abc import Callable, Sequence
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
    """Add a verb; return its parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description=help[0].upper() + help[1:] + ".",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose bundle, GPU and threads."""
    parser.add_argument("--bundle", type=Path, help="bundle folder (default: the one that ships)")
    parser.add_argument("--device", type=int, default=0, help="index of the GPU (default: 0)")
    parser.add_argument(
        "--threads", type=int, help="CPU threads (default: all that the process may use)"
    )


def printable(value: object) -> str:
    """Return ``value`` as text in which bytes of file names that are not UTF-8 are escaped."""
    return str(value).encode(errors="backslashreplace").decode()


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows of a table as lines: the first column flush left, the others flush right."""
    first, *others = (max(map(len, column)) for column in zip(*rows, strict=True))
    return [
        "  ".join([row[0].ljust(first), *map(str.rjust, row[1:], others)]).rstrip() for row in rows
    ]
