"""Start a worker, send it requests, and report its failures."""

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
    """A worker has no result.

    Attributes:
        status: ``skipped`` (it cannot run here) or ``failed`` (an error).
    """

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class WorkerProcess:
    """A worker process that has opened its job.

    Attributes:
        device, runtime_version: as its runner reports them.

    Raises:
        WorkerError: the runner cannot be opened.
    """

    def __init__(self, job: Job, *, timeout: float = TIMEOUT_SECONDS) -> None:
        self._timeout = timeout
        # Closed in `close`, because the worker writes to it until it exits.
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.harness.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            # OpenMP reads the variable once, when its thread pool starts.
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
            seconds: duration of the requested measurement.

        Raises:
            WorkerError: the worker reports an error, has ended, or does not answer in time.
        """
        requests, answers = cast(TextIO, self._process.stdin), cast(TextIO, self._process.stdout)
        # Device times, where there are any, double the duration.
        patience = self._timeout + 3 * seconds
        timer = threading.Timer(patience, self._process.kill)
        try:
            timer.start()  # inside the try block, so that an interrupt cancels it
            requests.write(json.dumps(request) + "\n")
            requests.flush()
            line = answers.readline()
        except BrokenPipeError:
            line = ""
        except BaseException:
            # Interrupted: nothing reads the answer that the worker still computes.
            self._process.kill()
            raise
        finally:
            expired = not timer.is_alive()
            timer.cancel()
        if expired:
            raise WorkerError("failed", f"no answer within {patience:g} s")
        if not line:
            raise WorkerError("failed", self._failure())
        answer: dict[str, Any] = json.loads(line)
        if "status" in answer:
            raise WorkerError(answer["status"], answer["reason"])
        return answer

    def close(self) -> None:
        """Let the worker exit; kill it if it does not."""
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.communicate(timeout=10)
        finally:
            # The context closes the pipes and waits.
            with self._process:
                self._process.kill()
            self._errors.close()

    def _failure(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines() or ["no message"]
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return f"the process ended {how}: {lines[-1]}"
