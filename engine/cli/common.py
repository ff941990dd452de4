"""Options and output shared by the verbs."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from engine.bundle.shipped import HELP, bundle_named
from engine.system.argument_parser import RaisingParser
from engine.system.argument_types import int_between, levels, positive_int

# What `ArgumentParser.add_subparsers` and `add_argument_group` return.
Commands = Any
OptionGroup = Any


class Parser(RaisingParser):
    """The parser of the command, and of each verb."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Refuse what is unknown here: the command's parser would point to its own help."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return options, unknown

    def error(self, message: str) -> NoReturn:
        """Raise `UsageError`: the message, and where to read on."""
        super().error(f"{message.rstrip('.')}. See {self.prog} --help.")


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


def add_engine_options(parser: argparse.ArgumentParser) -> OptionGroup:
    """Add the options that choose bundle, GPU and threads; return their group."""
    group = parser.add_argument_group("inference")
    add = group.add_argument
    # fmt: off
    add("--bundle", type=bundle_named, metavar="DIR", help=f"{HELP}; default: that one")
    add("--trust", type=Path, metavar="FILE",
        help="public key: open the bundle only if it is signed by it")
    add("--device", type=int_between(0, 999), default=0, metavar="N",
        help="index of the GPU (default: 0)")
    add("--threads", type=positive_int, metavar="N",
        help="CPU threads (default: all that the process may use)")
    # fmt: on
    return group


def add_levels_option(parser: argparse.ArgumentParser) -> None:
    """Add the option of what reads pictures."""
    parser.add_argument(
        "--levels",
        type=levels,
        metavar="LOW:HIGH|percentile",
        help="values of the pictures that become black and white, e.g. 0:4095 for 12 bits, or "
        "percentile: the 1st and 99th of the first pictures (default: the range of 8 or 16 bits)",
    )


def printable(value: object) -> str:
    """Return ``value`` as text without what a terminal obeys or cannot show.

    Control characters and bytes of file names that are not UTF-8 are escaped.
    """
    text = str(value).encode(errors="backslashreplace").decode()
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows of a table as lines: the first column flush left, the others flush right."""
    first, *others = (max(map(len, column)) for column in zip(*rows, strict=True))
    return [
        "  ".join([row[0].ljust(first), *map(str.rjust, row[1:], others)]).rstrip() for row in rows
    ]
