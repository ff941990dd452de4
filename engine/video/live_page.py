"""A page on this computer that shows images while they are computed, in any browser."""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from engine.images.files import import_opencv
from engine.types import Image

_HOST = "127.0.0.1"  # only this computer
_POLL = 0.05  # seconds: what the end may take
_QUALITY = 85  # of JPEG, in percent
_NEXT = b"--image\r\nContent-Type: image/jpeg\r\n"
_PAGE = b"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Optical flow</title>
<style>body { margin: 0; background: #111 } img { width: 100%; height: 100vh; object-fit: contain }
</style><img src="images" alt="frame and optical flow">
"""


class LivePage:
    """Sends each image as a JPEG to every browser that has the page open.

    Attributes:
        address: of the page. It contains a random word, so that other users of this computer cannot
            guess it.
        viewers: number of browsers that wait for images.
    """

    def __init__(self, address: str) -> None:
        """Start without an image."""
        self.address = address
        self._cv2 = import_opencv()
        self._changed = threading.Condition()
        self._jpeg: bytes | None = None
        self._number = 0  # of the image; 0: there is none yet
        self.viewers = 0

    def show(self, image: Image) -> None:
        """Show (H, W, 3) uint8 RGB from now on."""
        if not self.viewers:  # nobody needs the JPEG
            return
        bgr = self._cv2.cvtColor(image, self._cv2.COLOR_RGB2BGR)
        _, data = self._cv2.imencode(".jpg", bgr, (self._cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
        self._replace(data.tobytes())

    def end(self) -> None:
        """Let all browsers keep the last image."""
        self._replace(None)

    def images(self) -> Iterator[bytes]:
        """Yield each new image as a JPEG, for one browser, until `end`."""
        with self._changed:
            self.viewers += 1
        seen = 0
        try:
            while True:
                with self._changed:
                    while self._number == seen:
                        self._changed.wait()
                    seen, jpeg = self._number, self._jpeg
                if jpeg is None:
                    return
                yield jpeg
        finally:
            with self._changed:
                self.viewers -= 1

    def _replace(self, jpeg: bytes | None) -> None:
        with self._changed:
            self._jpeg, self._number = jpeg, self._number + 1
            self._changed.notify_all()


@contextmanager
def live_page() -> Iterator[LivePage]:
    """Yield a page that is served until the block ends, at a free port of this computer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == f"/{word}/":
                self._begin("text/html")
                self.wfile.write(_PAGE)
            elif self.path == f"/{word}/images":
                self._begin("multipart/x-mixed-replace; boundary=image")
                self.wfile.write(_NEXT)
                for jpeg in page.images():
                    length = f"Content-Length: {len(jpeg)}\r\n\r\n".encode()
                    # Some browsers show an image when the next one begins.
                    self.wfile.write(length + jpeg + b"\r\n" + _NEXT)
            else:
                self.send_error(404)

        def _begin(self, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Cache-Control", "no-store")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            """Print nothing."""

        def handle(self) -> None:
            with suppress(ConnectionError):  # the browser was closed
                super().handle()

    word = secrets.token_urlsafe(9)
    with ThreadingHTTPServer((_HOST, 0), Handler) as server:
        page = LivePage(f"http://{_HOST}:{server.server_port}/{word}/")
        thread = threading.Thread(target=server.serve_forever, args=(_POLL,), name="flow-page")
        thread.start()
        try:
            yield page
        finally:
            page.end()
            server.shutdown()
            thread.join()
