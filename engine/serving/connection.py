"""One connection: uvicorn's, which tells clients in the protocol's form why it is closed."""

import asyncio
import json
import socket
import struct
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

# More than clients of one machine need; each may hold one answer in memory.
_MOST = 1024


class Connection(H11Protocol):
    """Also limits the number of connections, and the time of a client to send and to read.

    uvicorn itself waits forever for the end of a request's headers, and until an answer is read.

    Attributes:
        patience: seconds for the headers of a request, and for a client to read its answer.
    """

    patience = 30.0
    _late: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse the connection if there are too many."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # writing pauses until everything is sent
        if len(self.connections) > _MOST:
            self._refuse(503, f"{_MOST} connections are open, the most at a time; ask again later.")
        else:
            self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop both clocks."""
        self._stop_clock()
        self._stop_reading_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Give the client some time until the headers are complete."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_clock()
        elif self._late is None and not self.transport.is_closing():
            self._start_clock()

    def pause_writing(self) -> None:
        """Give the client some time to read what cannot be sent yet."""
        super().pause_writing()
        self._stop_reading_clock()
        self._unread = self.loop.call_later(self.patience, self._drop)

    def resume_writing(self) -> None:
        """Stop its clock: everything is sent."""
        super().resume_writing()
        self._stop_reading_clock()

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

    def _stop_reading_clock(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _drop(self) -> None:
        """Close at once; without lingering, else the system keeps what it could not send."""
        at_once = struct.pack("ii", 1, 0)
        self.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, at_once
        )
        self.transport.abort()

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
