"""Raw bytes on a connection: not HTTP, too long, cut off, too slow."""

import http.client
import select
import socket
import time

import numpy as np

from tests.engine.serving.test_request import encoded
from tests.support.serving import ask, error_of, fake, place_of

PAIR = "/v2/models/flow_pair/infer"


def send(server, data, *, half_close=False):
    """Send bytes; return what comes back until the server closes."""
    host, port = place_of(server).split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(data)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        parts = []
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def parts_of(answer):
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def test_what_is_not_http(tiny_bundle):
    with fake(tiny_bundle) as (server, _):
        status, body = parts_of(send(server, b"\x16\x03\x01 hello\r\n\r\n"))
    assert status == 400
    assert "expected HTTP/1.1" in error_of(body)


def test_chunked_body_without_an_end_is_too_long(tiny_bundle):
    chunk = b"%x\r\n" % 60_000 + bytes(60_000) + b"\r\n"
    head = b"POST %s HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    with fake(tiny_bundle, max_bytes=200_000) as (server, _):
        status, body = parts_of(send(server, head % PAIR.encode() + 4 * chunk))
    assert status == 413
    assert "expected at most 200000 bytes" in error_of(body)


def test_a_client_that_leaves_early_harms_nobody(tiny_bundle):
    head = f"POST {PAIR} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n".encode()
    with fake(tiny_bundle, queue=1) as (server, _):
        send(server, head + b"half", half_close=True)
        deadline = time.monotonic() + 30
        while (status := ask(server, "POST", PAIR, b"{")[0]) == 503:  # until its place is free
            assert time.monotonic() < deadline
    assert status == 400


def test_a_request_that_is_too_slow(tiny_bundle):
    with fake(tiny_bundle, timeout=0.2) as (server, _):
        head = f"POST {PAIR} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\nconnection: close\r\n\r\n"
        for slow in (head + "{", head[:30], ""):
            status, answer = parts_of(send(server, slow.encode()))
            assert status == 408
            assert "did not arrive in time" in error_of(answer)


def test_an_answer_that_nobody_reads(tiny_bundle):
    """8 MiB, more than the system's own buffers hold."""
    image = np.zeros((1, 1024, 1024, 3), np.uint8)
    body, length = encoded({"image1": image, "image2": image})
    with fake(tiny_bundle, blocking=False, timeout=1) as (server, _):
        client = http.client.HTTPConnection(place_of(server), timeout=30)
        client.request("POST", PAIR, body, {"Inference-Header-Content-Length": length})
        waiting = select.poll()
        waiting.register(client.sock, select.POLLERR)
        assert waiting.poll(30_000), "the connection is still open"
        client.close()
        status, _, answer = ask(server, "POST", PAIR, body, Inference_Header_Content_Length=length)
    assert status == 200
    assert len(answer) > image.size // 3 * 8
