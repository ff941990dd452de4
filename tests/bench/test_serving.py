"""`python -m bench.serving`: the sessions, and the command with a real server."""

import json
import shlex
import threading
import time

import numpy as np
import pytest

from bench.serving.__main__ import main
from bench.serving.sessions import run_sessions
from engine import FlowEngine
from engine.bundle.manifest import read_manifest
from tests.support.fake_backend import FakeBackend, failing
from tests.support.serving import running

FRAMES = [np.zeros((8, 8, 3), np.uint8)] * 2


@pytest.fixture
def backend():
    return FakeBackend()


@pytest.fixture
def server(tiny_bundle, backend):
    with (
        FlowEngine(read_manifest(tiny_bundle), backend) as flow_engine,
        running(flow_engine, max_batch=1) as server,
    ):
        yield server


def test_each_session_sends_its_frames(server, backend):
    answers = run_sessions(server.address, 3, fps=20, seconds=0.2, frames=FRAMES)
    assert (len(answers.milliseconds), answers.failed) == (12, 0)
    assert backend.started == 12
    assert min(answers.milliseconds) > 0


def test_times_count_from_when_a_frame_was_due(server, backend):
    backend.blocking = True

    def answer_late():
        assert backend.entered.acquire(timeout=30)
        time.sleep(0.3)
        for _ in range(4):
            backend.proceed.release()

    thread = threading.Thread(target=answer_late)
    thread.start()
    answers = run_sessions(server.address, 1, fps=20, seconds=0.2, frames=FRAMES)
    thread.join()
    assert (len(answers.milliseconds), answers.failed) == (4, 0)
    # Each is due 50 ms after the one before, and no answer comes before that of the first.
    assert all(late > 299 - 50 * index for index, late in enumerate(answers.milliseconds))


def test_failures_are_counted(server, backend, monkeypatch):
    monkeypatch.setattr(backend, "run", failing)
    answers = run_sessions(server.address, 2, fps=20, seconds=0.1, frames=FRAMES)
    assert (answers.milliseconds, answers.failed) == ([], 4)


def test_command(tiny_bundle, tmp_path, capsys):
    file = tmp_path / "serving.json"
    options = ["--sessions", "1,2", "--fps", "20", "--seconds", "0.2", "--size", "64x64"]
    serve = f"{shlex.quote(str(tiny_bundle))} --backend onnxruntime"
    assert main([*options, "--threads", "1", "--serve", serve, "--json", str(file)]) == 0
    result = json.loads(file.read_text())
    assert (result["kind"], result["size"], result["fps"]) == ("serving", "64x64", 20)
    assert [(row["sessions"], row["ms"]["n"], row["failed"]) for row in result["rows"]] == [
        (1, 4, 0),
        (2, 8, 0),
    ]
    assert all(row["memory_mib"] > 20 for row in result["rows"])
    table = capsys.readouterr().out.splitlines()
    assert table[0].split()[:2] == ["sessions", "held"]
    assert [line.split()[0] for line in table[1:3]] == ["1", "2"]
    assert shlex.split(result["serve"]) == shlex.split(serve)


def test_options_that_no_shell_reads(capsys):
    assert main(["--serve", "'"]) == 2
    assert '"\'" is no command line: No closing quotation' in capsys.readouterr().err
