"""Files packed into parts of a limited size, with their checksums and the script that joins them.

A bundle is a folder::

    part-001/ part-002/ ...   files, each part within the limit; NAME.cut-001 is a piece of NAME
    install.sh                bench/offline_install.sh, which installs
    requirements.txt          these requirements
    python-version            with this Python
    SHA256SUMS                of all of these; written last: without it the bundle is incomplete
"""

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from engine.system.files import write_atomically

SUMS = "SHA256SUMS"
INSTALL = Path(__file__).with_name("offline_install.sh")
MOST = 999  # parts, and pieces of a file: their numbers have three digits, so that names sort
_CHUNK = 2**20


@dataclass(frozen=True)
class Piece:
    """``size`` bytes of a file, from ``offset`` on; ``name`` is its own, in a part."""

    file: Path
    name: str
    offset: int
    size: int


def pieces_of(file: Path, size: int, limit: int) -> list[Piece]:
    """The file whole, or cut into pieces of ``limit`` bytes and a last one of the rest."""
    if size <= limit:
        return [Piece(file, file.name, 0, size)]
    offsets = range(0, size, limit)
    return [
        Piece(file, f"{file.name}.cut-{number:03}", offset, min(limit, size - offset))
        for number, offset in enumerate(offsets, 1)
    ]


def packed(files: Mapping[Path, int], limit: int) -> list[list[Piece]]:
    """Parts of at most ``limit`` bytes, by first fit, the largest pieces first.

    A file's full pieces fill parts of their own, in their order, before its last one is placed: in
    the order of the parts, the pieces of each file are in order. `install.sh` relies on it.

    Args:
        files: size of each in bytes.
        limit: of a part, in bytes.

    Raises:
        ValueError: the limit is so small that there would be too many parts.
    """
    pieces = [piece for file, size in files.items() for piece in pieces_of(file, size, limit)]
    parts: list[list[Piece]] = []
    room: list[int] = []
    for piece in sorted(pieces, key=lambda piece: -piece.size):
        place = next((at for at, left in enumerate(room) if piece.size <= left), len(parts))
        if place == len(parts):
            parts.append([])
            room.append(limit)
        parts[place].append(piece)
        room[place] -= piece.size
    if len(parts) > MOST:
        raise ValueError(
            f"{limit} bytes a part make {len(parts)} parts; expected at most {MOST}. "
            "Give a larger --part-size"
        )
    return parts


def write_bundle(
    files: Sequence[Path], folder: Path, *, limit: int, requirements: Sequence[str], python: str
) -> int:
    """Write a bundle of files into ``folder``, in place of the one that may be there.

    Args:
        files: what it holds; their names are distinct.
        folder: exists.
        limit: of a part, in bytes.
        requirements: what `install.sh` installs.
        python: the version it is for, for instance ``"3.12"``.

    Returns:
        The number of parts.

    Raises:
        ValueError: the limit is too small.
        OSError: a file cannot be read or written.
    """
    parts = packed({file: file.stat().st_size for file in sorted(files)}, limit)
    (folder / SUMS).unlink(missing_ok=True)
    for old in folder.glob("part-*"):
        shutil.rmtree(old)
    sums = {}
    for number, pieces in enumerate(parts, 1):
        part = folder / f"part-{number:03}"
        part.mkdir()
        for piece in pieces:
            sums[f"{part.name}/{piece.name}"] = _write(piece, part)
    texts = {
        "install.sh": INSTALL.read_text(),
        "requirements.txt": "".join(f"{requirement}\n" for requirement in requirements),
        "python-version": f"{python}\n",
    }
    for name, text in texts.items():
        write_atomically(folder / name, text.encode())
        sums[name] = hashlib.sha256(text.encode()).hexdigest()
    # The format of sha256sum: two spaces.
    write_atomically(
        folder / SUMS, "".join(f"{value}  {name}\n" for name, value in sums.items()).encode()
    )
    return len(parts)


def _write(piece: Piece, part: Path) -> str:
    """Write a piece, whole or not at all; returns its SHA-256."""
    digest = hashlib.sha256()
    partial = part / f".{piece.name}.partial"
    with piece.file.open("rb") as source, partial.open("wb") as target:
        source.seek(piece.offset)
        for chunk in _chunks(source, piece.size):
            digest.update(chunk)
            target.write(chunk)
    os.replace(partial, part / piece.name)
    return digest.hexdigest()


def _chunks(source: BinaryIO, size: int) -> Iterator[bytes]:
    while size:
        chunk = source.read(min(size, _CHUNK))
        if not chunk:
            raise OSError(f"{source.name} became shorter while it was read; run this again")
        size -= len(chunk)
        yield chunk
