"""The server: listens, answers until a signal, and finishes what has begun."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

import numpy as np
import uvicorn

import engine
from engine.errors import InputError
from engine.serving.app import Service, build_app
from engine.serving.connection import connection_class
from engine.serving.settings import Settings

_BACKLOG = 256


class Server(uvicorn.Server):
    """Ends at SIGINT and SIGTERM after the running requests; at a second signal at once.

    Attributes:
        address: its URL.
    """

    address = ""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End; uvicorn itself would raise the signal again afterwards."""
        self.force_exit = self.should_exit
        self.should_exit = True


def serve(
    flow_engine: engine.FlowEngine, settings: Settings, on_ready: Callable[[Server], None]
) -> None:
    """Serve an engine until SIGINT or SIGTERM.

    Args:
        flow_engine: the engine, which stays the caller's.
        settings: address and limits.
        on_ready: called when the server takes connections.

    Raises:
        InputError: The name of the host is impossible.
        OSError: The address cannot be listened on.
    """
    with (
        _listening(settings.host, settings.port) as listener,
        contextlib.closing(Service(flow_engine, settings)) as service,
        _without_wakeups(),
    ):
        config = uvicorn.Config(
            build_app(service, settings.token),
            http=connection_class(settings.timeout),
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=max(1, round(settings.timeout)),
        )
        server = Server(config)
        server.address = _address(listener)
        on_ready(server)
        server.run(sockets=[listener])


def warm_up(
    flow_engine: engine.FlowEngine, sizes: Sequence[tuple[int, int]], max_batch: int
) -> None:
    """Compute every size of batch once, which OpenVINO compiles a model for at first.

    Args:
        flow_engine: the engine.
        sizes: (height, width) of images.
        max_batch: largest batch.
    """
    for height, width in sizes:
        for count in range(1, max_batch + 1):
            image = np.zeros((count, height, width, 3), np.uint8)
            flow_engine.infer(image, image)


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        number = error.errno or 0  # negative: of the resolver of names
        reason = os.strerror(number) if number > 0 else error.strerror
        raise OSError(error.errno, reason, f"{host}:{port}") from error
    except (UnicodeError, TypeError):  # Python cannot encode the name, and asks no resolver
        raise InputError(
            f"{host!r:.80} is no name of a host; expected a name or an address of this machine."
        ) from None
    with listener:
        yield listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.contextmanager
def _without_wakeups() -> Iterator[None]:
    """Keep `engine.system.command` from ending the process at Ctrl-C: the server ends itself."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    descriptor = signal.set_wakeup_fd(-1)
    try:
        yield
    finally:
        signal.set_wakeup_fd(descriptor)
