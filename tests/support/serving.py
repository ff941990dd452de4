"""A server of `flow serve` in a thread, and requests to it as bytes."""

import http.client
import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import engine
from engine.bundle.manifest import read_manifest
from engine.serving.server import Server, serve
from engine.serving.settings import Settings
from tests.support.fake_backend import FakeBackend


@contextmanager
def running(flow_engine: engine.FlowEngine, **settings: object) -> Iterator[Server]:
    """Yield a server at a free port; end it as SIGTERM does, after the block."""
    ready: queue.Queue[Server] = queue.Queue()
    options = Settings(port=0, **settings)
    thread = threading.Thread(target=serve, args=(flow_engine, options, ready.put))
    thread.start()
    server = ready.get(timeout=30)
    try:
        yield server
    finally:
        server.handle_exit(15, None)
        thread.join(30)
        assert not thread.is_alive()


@contextmanager
def fake(
    bundle: Path, *, blocking: bool = True, **settings: object
) -> Iterator[tuple[Server, FakeBackend]]:
    """Yield a server with a bundle's manifest, and the backend that it waits for."""
    backend = FakeBackend(blocking=blocking)
    with (
        engine.FlowEngine(read_manifest(bundle), backend) as flow_engine,
        running(flow_engine, **settings) as server,
    ):
        yield server, backend
        for _ in range(100):
            backend.proceed.release()


def place_of(server: Server) -> str:
    """Return host and port, for ``http.client`` and tritonclient."""
    return server.address.removeprefix("http://")


def ask(
    server: Server, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Send one request; return status, headers and body of the answer."""
    connection = http.client.HTTPConnection(place_of(server), timeout=30)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, names)
    answer = connection.getresponse()
    result = answer.status, dict(answer.headers), answer.read()
    connection.close()
    return result


def error_of(body: bytes) -> str:
    """Return the text of an error of the protocol, which holds nothing else."""
    content = json.loads(body)
    assert [*content] == ["error"]
    return str(content["error"])
