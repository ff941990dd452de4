"""A check that several formats share."""

from engine.errors import FlowFileError


def check_data_size(found: int, expected: int) -> None:
    """Raise ``FlowFileError`` unless the data have the size that the header states, in bytes."""
    if found != expected:
        raise FlowFileError(
            f"contains {found} bytes of data, expected {expected} from its header: "
            f"{'truncated' if found < expected else 'trailing bytes'}. Fetch or write it again."
        )
