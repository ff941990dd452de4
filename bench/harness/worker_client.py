"""The parent's side of a worker: start it, ask it, survive it."""

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict
from typing import Any, TextIO, cast

from bench.environment import child_environment
from bench.harness.worker import Job

TIMEOUT_SECONDS = 600.0


class WorkerError(Exception):
    """A worker gave no result.

    Attributes:
        status: ``skipped`` (it cannot run here) or ``failed`` (it went wrong).
    """

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class WorkerProcess:
    """A worker that has opened its job.

    Attributes:
        device, runtime_version: as its runner reports them.

    Raises:
        WorkerError: the runner cannot be opened.
    """

    def __init__(self, job: Job, *, timeout: float = TIMEOUT_SECONDS) -> None:
        self._timeout = timeout
        # Closed in `close`: the worker writes to it for as long as it lives.
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.harness.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            # Read once, when a runtime's thread pool starts.
            env=child_environment(OMP_NUM_THREADS=str(job.threads)),
        )
        try:
            opened = self.ask(asdict(job))
        except BaseException:
            self.close()
            raise
        self.device: str = opened["device"]
        self.runtime_version: str = opened["runtime_version"]

    def ask(self, request: dict[str, Any], *, seconds: float = 0.0) -> dict[str, Any]:
        """Send one request and wait for its answer.

        Args:
            request: a verb and its argument, see `bench.harness.worker`.
            seconds: how long it is to measure.

        Raises:
            WorkerError: the worker says so, has died, or did not answer in time.
        """
        requests, answers = cast(TextIO, self._process.stdin), cast(TextIO, self._process.stdout)
        # The device's own time, where there is any, is measured as long again.
        patience = self._timeout + 3 * seconds
        timer = threading.Timer(patience, self._process.kill)
        try:
            timer.start()  # in here, or an interrupt in it would leave the thread waiting
            requests.write(json.dumps(request) + "\n")
            requests.flush()
            line = answers.readline()
        except BrokenPipeError:
            line = ""
        except BaseException:
            # Interrupted: nobody will read what the worker is still busy with.
            self._process.kill()
            raise
        finally:
            expired = not timer.is_alive()
            timer.cancel()
        if expired:
            raise WorkerError("failed", f"no answer within {patience:g} s")
        if not line:
            raise WorkerError("failed", self._last_words())
        answer: dict[str, Any] = json.loads(line)
        if "status" in answer:
            raise WorkerError(answer["status"], answer["reason"])
        return answer

    def close(self) -> None:
        """Let the worker leave; kill it if it does not."""
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.communicate(timeout=10)
        finally:
            # Leaving the context closes the pipes and waits.
            with self._process:
                self._process.kill()
            self._errors.close()

    def _last_words(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines() or ["no message"]
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return f"the process ended {how}: {lines[-1]}"
