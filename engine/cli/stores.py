"""Flows in stores, named ``STORE.zarr:NUMBER`` among the flow files of a command line."""

import re
from pathlib import Path

from engine.cli.common import OptionGroup
from engine.errors import InputError
from engine.store.levels import COARSEST, DEFAULT_STEP, FINEST, step_text
from engine.store.reader import FlowStore
from engine.store.writer import STORE_SUFFIX
from engine.system.argument_types import power_of_two
from engine.types import Flow

_ADDRESS = rf"{re.escape(STORE_SUFFIX)}(\.zip)?:-?[0-9]{{1,9}}$"


def add_step_option(parser: OptionGroup) -> None:
    """Add the option of what writes a store, to a parser or a group of its options."""
    parser.add_argument(
        "--store-step",
        type=power_of_two(FINEST, COARSEST),
        default=DEFAULT_STEP,
        metavar="PX",
        help="difference of neighbouring values in a .zarr store, twice the largest error: a power "
        f"of two (default: {step_text(DEFAULT_STEP)})",
    )


def is_store(path: Path) -> bool:
    """Return whether ``path`` is a folder that is named like a store."""
    return path.suffix.lower() == STORE_SUFFIX and path.is_dir()


def flows_in(path: Path) -> dict[Path, str]:
    """Return the name of each flow of a store, by its address.

    Raises:
        FlowFileError: It is no store, or a malformed one.
        InputError: It has no flow.
    """
    names = FlowStore(path).names
    if not names:
        raise InputError(f"{path} contains no flow; expected at least one.")
    return {Path(f"{path}:{index}"): name for index, name in enumerate(names)}


def is_address(path: Path) -> bool:
    """Return whether ``path`` names a flow of a store, and no file."""
    return re.search(_ADDRESS, str(path), re.IGNORECASE) is not None and not path.exists()


def read(path: Path) -> Flow:
    """Return the flow at an address.

    Raises:
        FlowFileError: It is no store, or its data are missing or damaged.
        InputError: There is no such store or flow.
    """
    store, index = _found(path)
    try:
        return store[index]
    except IndexError as error:
        raise InputError(f"{error} Expected {-len(store)} to {len(store) - 1}.") from None


def name_of(path: Path) -> str:
    """Return the name of the flow at an address, after that of its store."""
    store, index = _found(path)
    return f"{store.path.stem}-{store.names[index]}" if -len(store) <= index < len(store) else ""


def _found(path: Path) -> tuple[FlowStore, int]:
    store, _, index = str(path).rpartition(":")
    return FlowStore(Path(store)), int(index)
