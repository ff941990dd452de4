"""Serve the page on this machine, with the headers that threads need."""

import mimetypes
import sys
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from engine.web.site import SiteFiles

_START = "index.html"
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}
# A page has memory that threads share only if it is isolated from other origins:
# https://developer.mozilla.org/docs/Web/API/Window/crossOriginIsolated
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


class Server(ThreadingHTTPServer):
    """An HTTP server of some files; nothing else is ever read."""

    daemon_threads = True

    def __init__(self, host: str, port: int, files: SiteFiles) -> None:
        """Listen.

        Args:
            host: name or address to listen on.
            port: 0: any that is free.
            files: of `site_files`.

        Raises:
            OSError: The address is not this machine's, or the port is in use.
        """
        super().__init__((host, port), partial(_Handler, files))
        self.url = f"http://{host}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing of a browser that has gone."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds until a connection that sends nothing is closed

    def __init__(self, files: Mapping[str, Path | bytes], *arguments: Any) -> None:
        self._files = files
        super().__init__(*arguments)

    def do_GET(self) -> None:
        self.wfile.write(self._answer())

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Print nothing."""

    def _answer(self) -> bytes:
        """Send the headers; return the content."""
        name = unquote(self.path.partition("?")[0]).removeprefix("/") or _START
        content = self._files.get(name, b"")
        status = HTTPStatus.OK if name in self._files else HTTPStatus.NOT_FOUND
        if isinstance(content, Path):
            content = content.read_bytes()
        self.send_response(status)
        for header, value in HEADERS.items():
            self.send_header(header, value)
        self.send_header("Content-Type", _type(name))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return content


def _type(name: str) -> str:
    kind = _TYPES.get(Path(name).suffix) or mimetypes.guess_type(name)[0]
    return kind or "application/octet-stream"
