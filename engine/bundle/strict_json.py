"""Parse JSON into dataclasses; unknown keys, missing keys and other types are errors."""

import dataclasses
import json
import reprlib
import sys
import types
import typing
from collections.abc import Collection
from typing import Any, Literal

from engine.errors import nearest, sentence

# More is no name, no sentence and no number that anybody writes.
_LONGEST_TEXT = 10_000
_LARGEST_INT = 1 << 63


class SchemaError(Exception):
    """A fault in a file's content; the text is a sentence without the file's path."""

    def __str__(self) -> str:
        """Return the message with a full stop."""
        return sentence(super().__str__())


def strict_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: The text is not JSON, repeats a key, or has NaN or infinity.
        RecursionError: The text is nested too deeply.
    """
    return json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)


def parsed(kind: Any, value: Any, where: str) -> Any:
    """Return a JSON value as ``kind``: a dataclass, a scalar, or a generic of these.

    Args:
        kind: the expected type.
        value: a result of ``strict_json``.
        where: path of the value in the file, for messages; "" for the whole file.

    Raises:
        SchemaError: The value has another type, or its keys differ from the dataclass's fields.
    """
    if dataclasses.is_dataclass(kind):
        return _parsed_object(kind, value, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):  # always `X | None` here
        return None if value is None else parsed(arguments[0], value, where)
    if origin is Literal:
        if value not in arguments:
            words = [argument for argument in arguments if isinstance(argument, str)]
            guess = nearest(value, words) if isinstance(value, str) else ""
            raise SchemaError(
                f"{where} is {reprlib.repr(value)}; expected one of {list(arguments)}.{guess}"
            )
        return value
    if origin is tuple:
        items = _of_type(value, list, where)
        kinds = [arguments[0]] * len(items) if arguments[-1] is Ellipsis else list(arguments)
        if len(items) != len(kinds):
            raise SchemaError(f"{where} has {len(items)} items; expected {len(kinds)}")
        pairs = zip(kinds, items, strict=True)
        return tuple(parsed(k, item, f"{where}[{i}]") for i, (k, item) in enumerate(pairs))
    if origin is dict:
        content = _of_type(value, dict, where)
        for key in content:
            _check_text(key, f"a key of {where}")
        return {key: parsed(arguments[1], v, f"{where}.{key}") for key, v in content.items()}
    if kind is float:
        return _parsed_float(value, where)
    _of_type(value, kind, where)
    if kind is str:
        _check_text(value, where)
    if kind is int and not -_LARGEST_INT <= value < _LARGEST_INT:
        raise SchemaError(f"{where} is {reprlib.repr(value)}; expected an integer of 64 bits")
    return value


def _parsed_object(kind: Any, value: Any, where: str) -> Any:
    content = _of_type(value, dict, where or "the manifest")
    kinds = typing.get_type_hints(kind)
    _refuse_keys("unknown", content.keys() - kinds.keys(), where, kinds)
    optional = {f.name for f in dataclasses.fields(kind) if f.metadata.get("optional")}
    _refuse_keys("missing", kinds.keys() - content.keys() - optional, where, ())
    prefix = f"{where}." if where else ""
    return kind(**{key: parsed(kinds[key], v, f"{prefix}{key}") for key, v in content.items()})


def _refuse_keys(fault: str, keys: set[str], where: str, known: Collection[str]) -> None:
    if keys:
        place = f" in {where}" if where else ""
        first = min(keys)
        guess = nearest(first[:100], known)
        names = ", ".join(map(reprlib.repr, sorted(keys)[:3])) + (", ..." if len(keys) > 3 else "")
        raise SchemaError(f"{fault} key {names}{place}.{guess}")


def _parsed_float(value: Any, where: str) -> float:
    # The bound refuses infinity, and whole numbers that no float can hold.
    if type(value) not in (int, float) or not abs(value) <= sys.float_info.max:
        raise SchemaError(f"{where} is {reprlib.repr(value)}; expected a finite number")
    return float(value)


def _check_text(text: str, where: str) -> None:
    """Refuse text that would steer a terminal, or that no terminal can show."""
    if not text.isprintable() or len(text) > _LONGEST_TEXT:
        raise SchemaError(
            f"{where} is {reprlib.repr(text)}; expected printable characters, at most "
            f"{_LONGEST_TEXT}"
        )


def printable(value: Any) -> Any:
    """Return a JSON value in whose texts the characters that are not printable are escaped."""
    if isinstance(value, dict):
        return {printable(key): printable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [printable(item) for item in value]
    if isinstance(value, str) and not value.isprintable():
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in value)
    return value


def _of_type(value: Any, kind: type, where: str) -> Any:
    # `type(...) is` and not isinstance: True is an int.
    if type(value) is not kind:
        name = {dict: "an object", list: "a list", str: "a string", int: "an integer"}[kind]
        raise SchemaError(f"{where} is {reprlib.repr(value)}; expected {name}")
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError(f"a key appears twice among {reprlib.repr([key for key, _ in pairs])}")
    return content


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")
