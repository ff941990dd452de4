"""Who may ask, and how much: the token, the number of requests, the size of a body."""

import hmac
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import ClientDisconnect, Request

from engine.serving.errors import RequestError

# Load balancers ask them, and learn nothing else.
_PUBLIC = ("/health", "/v2/health/live", "/v2/health/ready")


def check_token(request: Request, token: str | None) -> None:
    """Raise ``RequestError`` 401 unless a request shows the token, or needs none."""
    if token is None or request.scope["path"] in _PUBLIC:
        return
    shown = request.headers.get("authorization", "")
    if not hmac.compare_digest(shown.encode(), f"Bearer {token}".encode()):
        raise RequestError(
            401, "the token is missing or wrong; expected the header Authorization: Bearer TOKEN."
        )


class Places:
    """Places for requests: whoever finds none is refused at once."""

    def __init__(self, most: int) -> None:
        """Start with all places free."""
        self._free = self._most = most

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Keep a place inside the block; ``RequestError`` 503 if there is none."""
        if not self._free:
            raise RequestError(
                503,
                f"{self._most} requests are being answered, the most at a time; ask again later.",
            )
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


async def read_body(request: Request, most: int) -> bytearray:
    """Return the body of a request.

    Raises:
        RequestError: It is longer than ``most`` bytes, compressed, or the client has gone.
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise RequestError(415, "the request is compressed; send it without Content-Encoding.")
    declared = request.headers.get("content-length", "0")
    body = bytearray()
    try:
        if declared.isdigit() and int(declared) > most:
            raise _too_long(most)
        async for part in request.stream():
            body += part
            if len(body) > most:
                raise _too_long(most)
    except ClientDisconnect:
        raise RequestError(400, "the client has gone before the end of its request.") from None
    return body


def _too_long(most: int) -> RequestError:
    return RequestError(413, f"the request is too long; expected at most {most} bytes.")
