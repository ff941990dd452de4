"""A check that several formats share."""

from engine.errors import FlowFileError


def check_data_size(found: int, expected: int) -> None:
    """Raise ``FlowFileError`` unless a file holds as many bytes of data as its header promises."""
    if found != expected:
        raise FlowFileError(
            f"holds {found} bytes of data, expected {expected} from its header: "
            f"{'truncated' if found < expected else 'trailing bytes'}. Fetch or write it again."
        )
