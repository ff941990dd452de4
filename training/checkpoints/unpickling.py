"""PyTorch checkpoints without their code: tensors and plain values only.

`torch.load(weights_only=True)` reads them; it neither imports nor calls anything that a file names,
and stops at the first class that it does not know. Checkpoints of training runs contain such
classes beside their weights: NumPy numbers, `argparse.Namespace`, Lightning's callbacks. They are
replaced by objects of the classes below, whose constructors do nothing. Files that name a
function which could do harm elsewhere are refused, although it would not be called here.
"""

import errno
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch

from training.checkpoints.words import shown

# Modules whose functions attacks use, and what checkpoints have of them.
_HARMFUL_MODULES = {
    "builtins",
    *("os", "posix", "nt", "sys", "subprocess", "pty", "shutil", "socket", "importlib", "runpy"),
    *("ctypes", "pickle", "marshal", "types", "operator", "webbrowser", "urllib", "timeit", "pdb"),
}
_HARMLESS = {
    *("builtins.bool", "builtins.bytearray", "builtins.bytes", "builtins.complex"),
    *("builtins.dict", "builtins.float", "builtins.frozenset", "builtins.int", "builtins.list"),
    *("builtins.object", "builtins.print", "builtins.range", "builtins.set", "builtins.slice"),
    *("builtins.str", "builtins.tuple", "types.SimpleNamespace"),
}
_HARMFUL = ("torch.load", "torch.hub.", "torch.jit.", "numpy.load", "numpy.testing.")
# Tensors and plain values.
_PLAIN = ("torch.", "collections.", "_codecs.", "builtins.")
_PYTHON_3 = {"__builtin__": "builtins", "copy_reg": "copyreg"}
_PICKLES_OF_OLD_FILES = 5  # magic number, protocol, system, content, keys of the tensors' data


class DamagedFileError(ValueError):
    """A checksum in a file is not that of its content."""


class UnsafePickleError(ValueError):
    """A file names functions that run code; none was run."""


class LeftOut:
    """Stands for an object of an unknown class; only keeps its attributes, which are plain values.

    Attributes:
        attributes: mostly a dict by name.
    """

    attributes: object = None

    def __new__(cls, *_: object) -> "LeftOut":
        return object.__new__(cls)

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, attributes: object) -> None:
        self.attributes = attributes


class _SomeDict:
    """Stands for a subclass of dict, whose items PyTorch stores into real dicts alone."""

    def __new__(cls, *_: object) -> "OrderedDict[Any, Any]":  # type: ignore[misc]
        return OrderedDict()


def load(path: Path) -> tuple[Any, list[str]]:
    """Load a checkpoint; the data of a file in the zip format of PyTorch 1.6 stay on disk.

    Returns:
        The content, and the names of the classes whose objects were left out.

    Raises:
        UnsafePickleError: the file names functions that run code.
        DamagedFileError: a checksum in the file is wrong.
        Exception: PyTorch cannot read the file; its kind depends on the damage.
    """
    zipped = zipfile.is_zipfile(path)
    names = sorted(_named(path, zipped))
    harmful = [name for name in names if _is_harmful(name)]
    if harmful:
        raise UnsafePickleError(", ".join(harmful))
    if zipped:
        check_sums(path)
    # Of the names that PyTorch knows itself it keeps its own meaning.
    with torch.serialization.safe_globals([(_stand_in(name), name) for name in names]):
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    return content, [name for name in names if not name.startswith(_PLAIN)]


def check_sums(path: Path) -> None:
    """Check the checksums of a file in PyTorch's zip format, which PyTorch does not.

    Raises:
        DamagedFileError: one is wrong.
        OSError: the file cannot be read.
    """
    with _archive(path) as archive:
        if wrong := archive.testzip():
            raise DamagedFileError(f"the checksum of {shown(wrong)} in it is wrong")


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip file; a damaged index may lead to a place before the file, which is EINVAL."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise DamagedFileError("the index of its parts is damaged") from error


def _stand_in(name: str) -> type:
    base = _SomeDict if name.lower().endswith("dict") else LeftOut
    return type(base.__name__, (base,), {})


def _is_harmful(name: str) -> bool:
    module = name.partition(".")[0]
    return name.startswith(_HARMFUL) or (module in _HARMFUL_MODULES and name not in _HARMLESS)


def _named(path: Path, zipped: bool) -> set[str]:
    """Return the classes and functions that a file names, without running its pickles."""
    if zipped:
        with _archive(path) as archive:
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                raise ValueError("a TorchScript program")
            (entry,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(entry) as stream:
                return _globals(stream)
    with path.open("rb") as stream:
        return set().union(*(_globals(stream) for _ in range(_PICKLES_OF_OLD_FILES)))


def _globals(stream: IO[bytes]) -> set[str]:
    found: set[str] = set()
    strings: list[object] = []
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in ("GLOBAL", "INST"):
            module, _, name = str(argument).partition(" ")
            found.add(f"{_PYTHON_3.get(module, module)}.{name}")
        elif opcode.name == "STACK_GLOBAL":
            found.add(".".join(map(str, strings[-2:])))
        elif isinstance(argument, str):
            strings.append(argument)
    return found
