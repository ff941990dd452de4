"""Helpers that the command lines of this package share."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import environment
from engine.bundle.shipped import DEFAULT_BUNDLE, HELP, bundle_named
from engine.bundle.signature import read_trusted
from engine.errors import EngineError
from engine.system.argument_parser import RaisingParser, UsageError
from engine.system.files import write_atomically


def exit_code(parts: Iterable[Mapping[str, Any]], *, require_gpu: bool) -> int:
    """Return 1 if a part of the result failed, or if a GPU row is required and none was measured.

    Args:
        parts: mappings with ``status`` and, where a device was used, ``device``.
        require_gpu: whether at least one row must have run on a GPU.
    """
    parts = list(parts)
    if any(part["status"] == "failed" for part in parts):
        return 1
    measured = [str(part.get("device")) for part in parts if part["status"] == "ok"]
    if require_gpu and not any(device.startswith("cuda") for device in measured):
        print("error: no row was measured on a GPU; see the reasons above", file=sys.stderr)
        return 1
    return 0


def reported(command: Callable[[], None]) -> int:
    """Run a command; return 0, or 2 after an error, which is printed: the request cannot be met."""
    try:
        command()
    except (UsageError, EngineError, environment.ModuleError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return environment.USAGE_ERROR
    return 0


def console(width: int) -> Console:
    """Return the terminal's console, or one of ``width`` columns for a file or pipe."""
    return Console() if sys.stdout.isatty() else Console(width=width)


def save_json(result: Mapping[str, Any], file: Path) -> None:
    """Write a result to a file, atomically."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps(result, indent=1, allow_nan=False).encode())


def deliver(result: Mapping[str, Any], file: Path | None, show: Callable[[], None]) -> None:
    """Save a result where a file is named, then show it, even if it could not be saved."""
    try:
        if file is not None:
            save_json(result, file)
    finally:
        show()
    if file is not None:
        print(f"json       {file}")


def deliver_rows(
    kind: str, found: Mapping[str, Any], table: Iterable[str], options: argparse.Namespace
) -> None:
    """Save what was measured, with its environment, where a file is named; print its table.

    Args:
        kind: of the result.
        found: ``rows``, and what was common to them.
        table: lines to print.
        options: ``json``, of `rows_parser`, and ``threads``, the number of each row.
    """
    described = environment.describe(threads=options.threads)
    result = {"schema": 1, "kind": kind, "environment": described, **found}
    deliver(result, options.json, lambda: print("\n".join(table)))


def rows_parser(module: str, description: str | None) -> RaisingParser:
    """Return the parser of a module, with the text above its options and ``--json``."""
    parser = RaisingParser(
        prog=f"python -m {module}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", type=output_file, metavar="FILE", help="write all results")
    return parser


def add_bundle_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--bundle`` and ``--trust``."""
    more = f"{HELP}; default: that one"
    parser.add_argument("--bundle", type=bundle_named, metavar="DIR", help=more)
    add_trust(parser)


def network_of(options: argparse.Namespace) -> str:
    """Return the network of the bundle that `add_bundle_options` names.

    Raises:
        BundleError: it cannot be read, or is not signed by the given key.
    """
    return read_trusted(options.bundle or DEFAULT_BUNDLE, options.trust).network


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add ``--trust``, the key of signed bundles."""
    parser.add_argument(
        "--trust", type=Path, metavar="FILE", help="public key: use a bundle only if it signed it"
    )


def output_file(text: str) -> Path:
    """Return the path of a file to write; its folders are created later."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is a folder; expected the name of a file")
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} cannot be created: {above} is not a folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"{text!r} cannot be created: {above} is not writable")
    return path
