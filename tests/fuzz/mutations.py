"""Mutations of valid files: the damage of transport, and what attacks on parsers are made of."""

import random
import re
import struct
from collections.abc import Iterator, Sequence

LONGEST = 1 << 20  # bytes of an input

# Limits of integers, and sizes that no file holds.
_NUMBERS = (
    0, 1, 2, 3, 7, 8, 16, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 1 << 20, (1 << 24) + 1,
    (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 40) + 8, (1 << 63) - 1, 1 << 63,
    (1 << 64) - 1,
)  # fmt: skip
_WORDS = (
    b"-1", b"0", b"1e999", b"NaN", b"Infinity", b"null", b"true", b"[]", b"{}", b'""', b"0.5",
    b"9" * 30, b"99999999999", b"[" * 3000, b'{"a":' * 3000, b'"\\ud800"', b"'", b"\x00", b"\xff",
    b"../../x", b"/etc/passwd", b"http://127.0.0.1/", b"\xe2\x80\xae", b"\x1b[31m",
)  # fmt: skip
# What JSON, numpy headers and lists of labels consist of.
_TOKEN = re.compile(rb'"[^"]*"|-?\d+(?:\.\d+)?|true|false|null|True|False')


def mutations(seeds: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """Yield mutated files without end, the same ones for the same seed."""
    rng = random.Random(seed)
    while True:
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.choice((1, 1, 2, 3, 8))):
            rng.choice(_MUTATIONS)(rng, data, seeds)
        yield bytes(data[:LONGEST])


def _flip_bit(rng, data, _):
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set_byte(rng, data, _):
    if data:
        data[min(_near_the_start(rng, data), len(data) - 1)] = rng.choice(
            (0, 1, 127, 128, 255, rng.randrange(256))
        )


def _set_number(rng, data, _):
    code, size = rng.choice((("H", 2), ("I", 4), ("Q", 8)))
    number = rng.choice(_NUMBERS) & (256**size - 1)
    place = _near_the_start(rng, data)
    data[place : place + size] = struct.pack(rng.choice("<>") + code, number)


def _set_token(rng, data, _):
    tokens = list(_TOKEN.finditer(bytes(data[:20000])))
    if tokens:
        data[slice(*rng.choice(tokens).span())] = rng.choice(_WORDS)


def _swap_tokens(rng, data, _):
    tokens = list(_TOKEN.finditer(bytes(data[:20000])))
    if tokens:
        data[slice(*rng.choice(tokens).span())] = rng.choice(tokens).group()


def _truncate(rng, data, _):
    del data[rng.randrange(len(data) + 1) :]


def _delete(rng, data, _):
    start = rng.randrange(len(data) + 1)
    del data[start : start + rng.choice((1, 2, 4, 8, 64, 1000))]


def _insert(rng, data, _):
    start = rng.randrange(len(data) + 1)
    data[start:start] = rng.choice((rng.randbytes(rng.choice((1, 4, 100))), rng.choice(_WORDS)))


def _repeat(rng, data, _):
    start = rng.randrange(len(data) + 1)
    part = data[start : start + rng.choice((1, 4, 16, 256))]
    data[start:start] = part * rng.choice((1, 2, 100))


def _splice(rng, data, seeds):
    other = rng.choice(seeds)
    start = rng.randrange(len(other) + 1)
    place = rng.randrange(len(data) + 1)
    data[place : place + rng.randrange(65)] = other[
        start : start + rng.choice((4, 16, 256, 1 << 16))
    ]


_MUTATIONS = (
    _flip_bit, _set_byte, _set_number, _set_number, _set_token, _swap_tokens, _truncate, _delete,
    _insert, _repeat, _splice,
)  # fmt: skip


def _near_the_start(rng, data):
    """Headers are at the start: every second position is there."""
    return rng.randrange(min(len(data), rng.choice((64, 1 << 30))) + 1) if data else 0
