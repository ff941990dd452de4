"""Names and numbers of tensors in messages."""

from collections.abc import Sequence

_LISTED = 6  # names that a message lists
_LONGEST = 80  # characters of a name


def shown(value: object) -> str:
    """Return a text of a file for a terminal: on one line, without control characters, short."""
    text = str(value)
    if not text.isprintable():
        text = ascii(text)[1:-1]
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def some(names: Sequence[str], separator: str = ", ", *, most: int = _LISTED) -> str:
    """Return the first of some texts, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return separator.join(names[:most]) + more


def some_names(names: Sequence[str], *, most: int = _LISTED) -> str:
    """Return the first of some names of a file, as `shown` shows them."""
    return some([shown(name) for name in names], most=most)


def tensors(count: int) -> str:
    """Return a number of tensors in words."""
    return "1 tensor" if count == 1 else f"{count} tensors"
