"""A page in headless Chromium, driven through the DevTools protocol over two pipes."""

import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
_OPTIONS = (
    "--headless", "--no-sandbox", "--disable-dev-shm-usage", "--no-first-run",
    "--autoplay-policy=no-user-gesture-required", "--use-fake-device-for-media-stream",
    "--remote-debugging-pipe", "--force-color-profile=srgb",
)  # fmt: skip
# The browser reads commands from descriptor 3 and writes answers to 4, each ended by a NUL.
_READS, _WRITES = 3, 4
_PATIENCE = 180  # seconds, on a busy machine


class Page:
    """One open page.

    Attributes:
        log: texts of the console's warnings and errors, of exceptions and of failed requests.
    """

    def __init__(self, commands: int, answers: int) -> None:
        """Open an empty page of the browser at the other end of two pipes."""
        self.log: list[str] = []
        self._commands, self._answers = commands, answers
        self._buffer, self._last, self._loaded = b"", 0, False
        self._session: dict[str, str] = {}
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "DOM", "Network"):
            self.send(f"{domain}.enable")

    def open(self, url: str) -> None:
        """Open another page, and wait until it is loaded."""
        self._loaded = False
        self.send("Page.navigate", url=url)
        while not self._loaded:
            self._next()

    def send(self, method: str, **parameters: Any) -> Any:
        """Return the result of a command of the protocol."""
        self._last += 1
        command = {"id": self._last, "method": method, "params": parameters, **self._session}
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while True:
            message = self._next()
            if message.get("id") == self._last:
                assert "error" not in message, (method, message["error"])
                return message["result"]

    def evaluate(self, script: str) -> Any:
        """Return the value of a script, or that of its promise."""
        options = {"awaitPromise": True, "returnByValue": True, "userGesture": True}
        result = self.send("Runtime.evaluate", expression=script, **options)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait_for(self, script: str) -> Any:
        """Return the value of a script as soon as it is true."""
        end = time.monotonic() + _PATIENCE
        while not (value := self.evaluate(script)):
            assert time.monotonic() < end, (script, self.evaluate("document.body.innerText"))
            time.sleep(0.02)
        return value

    def choose_files(self, selector: str, *files: Path) -> None:
        """Choose files in an ``<input type=file>``."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], _PATIENCE)
            part = os.read(self._answers, 1 << 20) if ready else b""
            assert part, "the browser has ended or does not answer"
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, method: str | None, event: dict[str, Any]) -> None:
        if method == "Runtime.consoleAPICalled" and event["type"] in ("warning", "error"):
            self.log.append(" ".join(str(one.get("value")) for one in event["args"]))
        elif method == "Runtime.exceptionThrown":
            self.log.append(json.dumps(event["exceptionDetails"]))
        elif method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Log.entryAdded" and event["entry"]["level"] in ("warning", "error"):
            self.log.append(f"{event['entry']['text']} {event['entry'].get('url', '')}")


@contextmanager
def open_page(profile: Path, *options: str) -> Iterator[Page]:
    """Start a browser with one page; end it afterwards.

    Args:
        profile: an empty folder for what it stores.
        options: of its command line.
    """
    reads, commands = _pipe()
    answers, writes = _pipe()

    def connect() -> None:
        os.dup2(reads, _READS)
        os.dup2(writes, _WRITES)

    command = [BROWSER, *_OPTIONS, *options, f"--user-data-dir={profile}"]
    with subprocess.Popen(
        command,
        preexec_fn=connect,
        pass_fds=(_READS, _WRITES),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as browser:
        os.close(reads)
        os.close(writes)
        try:
            yield Page(commands, answers)
        finally:
            os.close(commands)  # which ends it
            os.close(answers)
            browser.kill()


def _pipe() -> tuple[int, int]:
    """Return both ends of a pipe, beyond the descriptors that the browser uses."""
    ends = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return high[0], high[1]
