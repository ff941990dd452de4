"""Clients that each send the frames of a sequence at a steady rate."""

import http.client
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import urlsplit

from engine.types import Image

_PATH = "/v2/models/flow_stream/infer"
_JSON_LENGTH = "Inference-Header-Content-Length"


@dataclass
class Answers:
    """What came back.

    Attributes:
        milliseconds: of each flow, from the time its frame was due.
        failed: requests without a flow.
    """

    milliseconds: list[float] = field(default_factory=list)
    failed: int = 0


def run_sessions(
    address: str, sessions: int, fps: float, seconds: float, frames: Sequence[Image]
) -> Answers:
    """Send frames from as many threads as there are sessions; return all answers.

    A frame that is late is sent at once, and its time counts from when it was due: a server that
    falls behind shows long times, not few frames (https://www.scylladb.com/2021/04/22/on-coordinated-omission/).

    Args:
        address: URL of the server.
        sessions: number of clients, whose frames are due at different times.
        fps: frames per second of each.
        seconds: how long they send.
        frames: (H, W, 3) uint8, sent in turn.
    """
    bodies = [_body(frame) for frame in frames]
    begin = time.perf_counter() + 0.5  # until then each has sent its first frame
    found = [Answers() for _ in range(sessions)]
    threads = [
        threading.Thread(
            target=_send,
            args=(address, f"bench-{index}", bodies, begin + index / sessions / fps, answers),
            kwargs={"period": 1 / fps, "count": round(seconds * fps)},
        )
        for index, answers in enumerate(found)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    milliseconds = [value for answers in found for value in answers.milliseconds]
    return Answers(milliseconds, sum(answers.failed for answers in found))


def _send(
    address: str,
    name: str,
    bodies: Sequence[tuple[list[int], bytes]],
    begin: float,
    answers: Answers,
    *,
    period: float,
    count: int,
) -> None:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
    _ask(connection, name, *bodies[0], start=True)
    for index in range(count):
        due = begin + index * period
        time.sleep(max(0, due - time.perf_counter()))
        last = index == count - 1
        if _ask(connection, name, *bodies[(index + 1) % len(bodies)], end=last):
            answers.milliseconds.append((time.perf_counter() - due) * 1e3)
        else:
            answers.failed += 1
    connection.close()


def _ask(
    connection: http.client.HTTPConnection,
    name: str,
    shape: list[int],
    data: bytes,
    *,
    start: bool = False,
    end: bool = False,
) -> bool:
    """Send a frame; return whether a flow of its size came back."""
    content = {
        "parameters": {
            "sequence_id": name,
            "sequence_start": start,
            "sequence_end": end,
            "binary_data_output": True,
        },
        "inputs": [
            {
                "name": "image",
                "datatype": "UINT8",
                "shape": shape,
                "parameters": {"binary_data_size": len(data)},
            }
        ],
    }
    head = json.dumps(content).encode()
    headers = {_JSON_LENGTH: str(len(head))}
    try:
        connection.request("POST", _PATH, head + data, headers)
        answer = connection.getresponse()
        received = len(answer.read()) - int(answer.headers.get(_JSON_LENGTH, "0"))
    except (OSError, http.client.HTTPException):
        connection.close()  # the next request opens it again
        return False
    return answer.status == HTTPStatus.OK and received == shape[1] * shape[2] * 8


def _body(frame: Image) -> tuple[list[int], bytes]:
    return [1, *frame.shape], frame.tobytes()
