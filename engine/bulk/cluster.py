"""Workers in processes, on this machine or on a cluster, by Ray Data."""

import json
import logging
import os
import re
import socket
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

from engine.bulk.plan import Shard, shard_from_json
from engine.bulk.worker import Done, Worker
from engine.errors import BackendError, BackendNotInstalledError, EngineError, InputError, one_line
from engine.system.native_output import stderr_dropped

# For rows of some 100 bytes; Ray would take a third of the memory.
_OBJECT_STORE = 80 << 20
# The process of the command receives at most 100 messages a second, of all workers together.
_SECONDS_A_MESSAGE = 0.01
_PATIENCE = 10  # seconds for a cluster to answer
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent to anybody
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
}


@dataclass(frozen=True)
class Resources:
    """What the workers need.

    Attributes:
        workers: number of processes; None: as many as there are CPUs for.
        threads: CPU threads of each.
        gpus: GPUs of each, or a share of one.
        address: of a cluster; None: processes of this machine.
    """

    workers: int | None
    threads: int
    gpus: float = 0
    address: str | None = None


def import_ray() -> ModuleType:
    """Return Ray, with Ray Data, set not to send statistics of its use.

    Raises:
        BackendNotInstalledError: It is not installed.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise BackendNotInstalledError(
            f"extraction needs Ray Data, which cannot be imported ({error}). "
            "Install it: pip install 'flownet-engine[bulk]'."
        ) from error
    module: ModuleType = ray
    return module


def check_address(address: str) -> None:
    """Raise ``BackendError`` unless something answers there: Ray would try for minutes, silently.

    Raises:
        BackendError: Nothing answers.
        InputError: It is no ``HOST:PORT``, and not ``auto``, which Ray looks up.
    """
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not re.fullmatch("[0-9]{1,5}", port):
        raise InputError(
            f"{address!r:.80} is no address of a cluster; expected HOST:PORT of `ray start "
            "--head`, or auto."
        )
    try:
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise BackendError(
            f"no Ray cluster answers at {address}: {one_line(error)}. Expected the address of "
            "`ray start --head`; leave --address out for this machine."
        ) from error


def process_all(
    shards: Sequence[Shard], worker: Worker, resources: Resources
) -> Generator[Done, None, None]:
    """Yield every clip of the shards as soon as a worker is done with it.

    A worker that is killed is started again, and its shard is given to the next one. All of them
    end with the iterator: close it if you leave it early.

    Raises:
        BackendNotInstalledError: Ray is not installed.
        BackendError: There is no such cluster, it lacks the GPUs of a worker, or Ray failed.
        EngineError: A worker cannot open its engine.
        OSError: A worker cannot write a file.
    """
    ray = import_ray()
    with _connected(ray, resources) as workers:
        context = ray.data.DataContext.get_current()
        context.target_max_block_size = 1  # a row is handed on when it is there, not at 128 MiB
        results = ray.data.from_items(
            [{"shard": shard.to_json()} for shard in shards], override_num_blocks=len(shards)
        ).map_batches(
            _Actor,
            fn_constructor_args=(worker, workers * _SECONDS_A_MESSAGE),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(
                size=min(workers, len(shards)), max_tasks_in_flight_per_actor=1
            ),
            num_cpus=resources.threads,
            num_gpus=resources.gpus or None,
        )
        _log_to_files_only()
        try:
            for row in results.iter_rows():
                yield from map(_done, row["messages"])
        except (EngineError, OSError):
            raise
        except ray.exceptions.RayError as error:
            raise BackendError(
                f"Ray failed: {one_line(error)[:500]}. {_advice(resources.address)}"
            ) from error


class _Actor:
    """A worker as Ray Data calls it."""

    def __init__(self, worker: Worker, interval: float) -> None:
        self._worker, self._interval = worker, interval

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, list[list[str]]]]:
        """Yield messages about clips as they are done, several at once if that is often."""
        for text in batch["shard"]:
            waiting, sent = [], time.monotonic()
            for message in self._messages(str(text)):
                waiting.append(message)
                if time.monotonic() - sent > self._interval:
                    yield {"messages": [waiting]}
                    waiting, sent = [], time.monotonic()
            yield {"messages": [waiting]}

    def _messages(self, shard: str) -> Iterator[str]:
        """Yield a message for each clip; an error that is not a clip's is the last one."""
        try:
            for done in self._worker.process(shard_from_json(shard)):
                yield json.dumps(asdict(done))
        except OSError as error:
            fault = [error.errno, error.strerror or str(error), str(error.filename)]
            yield json.dumps({"os_error": fault})
        except EngineError as error:
            yield json.dumps({"error": str(error)})


def _done(message: str) -> Done:
    content = json.loads(message)
    if "os_error" in content:
        raise OSError(*content["os_error"])
    if "error" in content:
        raise EngineError(content["error"])
    return Done(**content)


@contextmanager
def _connected(ray: ModuleType, resources: Resources) -> Iterator[int]:
    """Start Ray, or connect to a cluster; yield the number of workers."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    workers = resources.workers or 1
    try:
        with stderr_dropped():  # its native code says which log level it has; errors are raised
            ray.init(
                address=resources.address or "local",
                configure_logging=False,
                log_to_driver=False,
                **({} if resources.address else _of_this_machine(workers * resources.threads)),
            )
    except Exception as error:  # of any class: a start that takes too long is a bare Exception
        ray.shutdown()
        where = (
            f"cannot be reached at {resources.address}" if resources.address else "did not start"
        )
        raise BackendError(
            f"Ray {where}: {one_line(error)[:300]}. {_advice(resources.address)}"
        ) from error
    try:
        yield _workers(ray.cluster_resources(), resources)
    finally:
        ray.shutdown()


def _log_to_files_only() -> None:
    """Keep Ray Data's progress and stack traces from the terminal: what fails is raised, too."""
    for handler in logging.getLogger("ray.data").handlers:  # which Ray Data resets
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL)


def _advice(address: str | None) -> str:
    logs = "see Ray's logs, /tmp/ray/session_latest/logs"
    if address is None:
        return f"Give the same command again; check the load of the machine and {logs}."
    return (
        "All machines need the same RAY_AUTH_MODE, token and version of Ray: where it is not set, "
        "`ray start --head` wants a token if there is ~/.ray/auth_token, and --address HOST:PORT "
        f"sends none. If they have, {logs}."
    )


def _workers(available: Mapping[str, float], resources: Resources) -> int:
    """Return the number of workers; Ray would wait forever for GPUs that a machine does not have.

    Raises:
        BackendError: There are not the GPUs of one worker.
    """
    workers = resources.workers or max(1, int(available.get("CPU", 1)) // resources.threads)
    if not resources.gpus or (resources.address and resources.workers):  # a cluster may grow
        return workers
    gpus = available.get("GPU", 0)
    if gpus < resources.gpus:
        raise BackendError(
            f"Ray finds {gpus:g} GPUs, and a worker needs {resources.gpus:g}; expected as many. "
            "Give --gpus 0 and a backend for CPUs, or the --address of a cluster that has them."
        )
    return min(workers, int(gpus / resources.gpus))


def _of_this_machine(cpus: int) -> dict[str, Any]:
    return {
        "num_cpus": cpus,
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE,
    }
