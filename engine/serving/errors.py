"""The error of a request, which becomes an HTTP status and a line of JSON."""

from engine.errors import EngineError


class RequestError(EngineError):
    """A request cannot be answered.

    Attributes:
        status: of HTTP.
    """

    def __init__(self, status: int, text: str) -> None:
        """Keep the status and the text."""
        super().__init__(text)
        self.status = status
