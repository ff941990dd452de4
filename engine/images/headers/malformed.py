"""The error of the header readers."""


class MalformedError(Exception):
    """What is wrong with a file, after "it is a file that", and what to do."""


def truncated(found: int, expected: int) -> MalformedError:
    """Return the error for a file of ``found`` bytes whose header promises ``expected``."""
    return MalformedError(
        f"has {found} bytes, and its header promises {expected}: truncated. Fetch or write it "
        "again."
    )
