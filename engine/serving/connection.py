"""One connection: uvicorn's, which tells clients in the protocol's form why it is closed."""

import asyncio
import json
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

# More than clients of one machine need; each may hold one answer in memory.
_MOST = 1024


class Connection(H11Protocol):
    """Also limits the number of connections, and the time until a request begins.

    uvicorn itself waits forever for the end of a request's headers.

    Attributes:
        patience: seconds for the headers of a request.
    """

    patience = 30.0
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse the connection if there are too many."""
        super().connection_made(transport)
        if len(self.connections) > _MOST:
            self._refuse(503, f"{_MOST} connections are open, the most at a time; ask again later.")
        else:
            self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Give the client some time until the headers are complete."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_clock()
        elif self._late is None and not self.transport.is_closing():
            self._start_clock()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self._refuse(400, f"{msg.rstrip('.')}: expected HTTP/1.1.")

    def _start_clock(self) -> None:
        self._late = self.loop.call_later(
            self.patience, self._refuse, 408, "the request did not arrive in time; send it faster."
        )

    def _stop_clock(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _refuse(self, status: int, text: str) -> None:
        content = json.dumps({"error": text}).encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + content)
        self.transport.close()


def connection_class(seconds: float) -> Any:
    """Return `Connection` with this patience."""
    return type("Connection", (Connection,), {"patience": seconds})
