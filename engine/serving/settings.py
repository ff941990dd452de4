"""What the server is told: address, batches, limits."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Options of the server; times are seconds.

    Attributes:
        host: address to listen on.
        port: port to listen on; 0: a free one.
        token: what requests have to show; None: nothing.
        max_batch: most pairs that are computed at once.
        window: how long a pair waits for others of its size.
        queue: most requests that are read, wait or are computed at a time.
        timeout: for a client to send a request, for its flow, and for the client to read it.
        max_bytes: largest request.
        max_pixels: most pixels of an input.
        sequences: most sequences that are open at a time.
        idle: a sequence without a frame for so long is closed.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    max_batch: int = 4
    window: float = 0.002
    queue: int = 64
    timeout: float = 30.0
    max_bytes: int = 64 << 20
    max_pixels: int = 1 << 23
    sequences: int = 64
    idle: float = 60.0
