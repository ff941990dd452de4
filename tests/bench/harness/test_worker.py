"""Workers and rounds, with fake runners."""

import contextlib
import itertools
import signal
import subprocess
import threading
from dataclasses import replace

import numpy as np
import pytest

from bench.harness.interleave import measure_rows
from bench.harness.plan import Row
from bench.harness.worker import Job, Session
from bench.harness.worker_client import WorkerError, WorkerProcess

RUNNERS = '''
import os, sys, time
from pathlib import Path
import numpy as np
from engine.errors import BackendNotInstalledError


class Runner:
    """Flow = difference of the red channels, twice; logs each call to a file."""

    device = "cpu"
    runtime_version = "1.2"

    def __init__(self, job):
        self.name, self.calls = job.network, 0
        self.log = Path(job.bundle)
        print("chatter on standard output")

    def run(self, image1, image2):
        self.calls += 1
        with self.log.open("a") as log:
            log.write(self.name)
        difference = image2[..., :1].astype(np.float32) - image1[..., :1]
        return np.concatenate([difference, difference], axis=-1)

    def device_ms(self):
        return None

    def close(self):
        pass


class Device(Runner):
    def device_ms(self):
        return 0.5


class BreaksLater(Runner):
    def run(self, image1, image2):
        if self.calls > 2:
            raise ValueError("no more")
        return super().run(image1, image2)


class Many(Runner):
    """Two batches ahead; logs the end of its iterator."""

    window = 4

    def run_many(self, pairs):
        try:
            pairs = iter(pairs)
            ahead = [next(pairs), next(pairs)]
            for pair in pairs:
                ahead.append(pair)
                yield self.run(*ahead.pop(0))
            for pair in ahead:
                yield self.run(*pair)
        finally:
            with self.log.open("a") as log:
                log.write(".")


class NotANumber(Runner):
    def run(self, image1, image2):
        return super().run(image1, image2) + np.float32("nan")


class Video(Runner):
    streaming = True


class Dies(Runner):
    def run(self, image1, image2):
        print("last words", file=sys.stderr, flush=True)
        os.abort()


class Hangs(Runner):
    def run(self, image1, image2):
        time.sleep(60)


def refuses(job):
    raise BackendNotInstalledError("fakeruntime is not installed: pip install fakeruntime")
'''


@pytest.fixture
def job(tmp_path, monkeypatch, rng):
    (tmp_path / "fakes.py").write_text(RUNNERS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("bench.harness.interleave.PAUSE_SECONDS", 0.0)
    image1, image2 = rng.integers(0, 256, (2, 3, 20, 30, 3), np.uint8)
    np.savez(tmp_path / "pairs.npz", image1=image1, image2=image2)
    return Job(
        factory="fakes:Runner",
        network="A",
        backend="opencv",
        precision="fp32",
        batch=2,
        threads=1,
        pairs=str(tmp_path / "pairs.npz"),
        bundle=str(tmp_path / "log"),
    )


def row_of(name):
    return Row(name, "opencv", "fp32", 20, 30, 2)


def measure(jobs, folder, *, rounds=2):
    named = [(row_of(job.network), job) for job in jobs]
    return measure_rows(named, rounds=rounds, seconds=1e-3, folder=folder, progress=lambda _: None)


@pytest.mark.parametrize("multiple", [1, 16])
def test_flows_of_every_pair_in_order(job, tmp_path, multiple):
    (measurement,) = measure([replace(job, multiple=multiple)], tmp_path, rounds=0)
    with np.load(job.pairs) as pairs:
        red = pairs["image2"][..., 0].astype(np.float32) - pairs["image1"][..., 0]
    # Three pairs in padded batches of two: the result shows neither batches nor padding.
    np.testing.assert_array_equal(measurement.flows, np.stack([red, red], axis=-1))
    assert (measurement.device, measurement.runtime_version) == ("cpu", "1.2")


def test_rounds_interleave(job, tmp_path):
    measured = measure([job, replace(job, network="B")], tmp_path, rounds=3)
    calls = (tmp_path / "log").read_text()
    order = "".join(name for i, name in enumerate(calls) if i == 0 or calls[i - 1] != name)
    assert order == "AB" * 4  # opening, then three rounds
    for measurement in measured:
        entry = measurement.to_json()
        assert entry["latency_ms"]["n"] == len(entry["raw_latency_ms"])
        assert len(entry["round_lengths"]) == 3
        assert sum(entry["round_lengths"]) == entry["latency_ms"]["n"]
        assert entry["fps"] == pytest.approx(2e3 / entry["latency_ms"]["mean"])
        assert entry["device_ms"] is None
        assert entry["peak_memory_mb"] > 1


def test_device_time_is_a_column_of_its_own(job, tmp_path):
    (measurement,) = measure([replace(job, factory="fakes:Device")], tmp_path)
    assert measurement.to_json()["device_ms"]["p99"] == 0.5


def test_overlapping_results_share_the_time_of_a_window(job, tmp_path, monkeypatch):
    def two_samples(call, *, seconds):
        for _ in range(2):
            call()
        return [40.0, 60.0]

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("bench.harness.worker.timed_ms", two_samples)
    session = Session(replace(job, factory="fakes:Many"))
    session.flows(str(tmp_path / "flows.npy"))
    assert session.measure(1.0)["latency_ms"] == [10.0, 15.0]
    # Two batches of the three pairs; four samples including the warm-up, of four results each.
    assert (tmp_path / "log").read_text() == "AA." + "A" * 16 + "."
    with np.load(job.pairs) as pairs:
        red = pairs["image2"][..., 0].astype(np.float32) - pairs["image1"][..., 0]
    np.testing.assert_array_equal(np.load(tmp_path / "flows.npy"), np.stack([red, red], axis=-1))


def test_a_video_has_every_image_with_the_next(job, tmp_path, monkeypatch):
    """Every pair then takes the same time."""
    monkeypatch.syspath_prepend(tmp_path)
    image1 = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1) * np.ones((1, 4, 4, 3), np.uint8)
    np.savez(job.pairs, image1=image1, image2=image1 + 10)
    session = Session(replace(job, factory="fakes:Video", batch=1))
    shown = [(one[0, 0, 0, 0], two[0, 0, 0, 0]) for one, two in itertools.islice(session.timed, 8)]
    chain = [0, 10, 1, 11, 2, 12, 0, 10, 1]
    assert shown == list(itertools.pairwise(chain))
    # A runner recognises a video by array identity.
    firsts, seconds = zip(*itertools.islice(session.timed, 6), strict=True)
    assert all(one is two for one, two in zip(firsts[1:], seconds, strict=False))
    alone = Session(replace(job, batch=1))
    shown = [(one[0, 0, 0, 0], two[0, 0, 0, 0]) for one, two in itertools.islice(alone.timed, 4)]
    assert shown == [(0, 10), (10, 0), (1, 11), (11, 1)]


def test_a_row_that_breaks_does_not_stop_the_others(job, tmp_path):
    factories = [
        "fakes:BreaksLater",
        "fakes:Dies",
        "fakes:refuses",
        "fakes:missing",
        "fakes:NotANumber",
        "fakes:Runner",
    ]
    jobs = [replace(job, network=name, factory=name) for name in factories]
    breaks, dies, refuses, missing, wrong, good = measure(jobs, tmp_path)
    assert (breaks.status, breaks.reason) == ("failed", "ValueError: no more")
    assert breaks.to_json()["latency_ms"] is None
    assert breaks.flows is None
    assert dies.status == "failed"
    assert "the process ended by SIGABRT: last words" in dies.reason
    assert refuses.status == "skipped"
    assert refuses.reason == "fakeruntime is not installed: pip install fakeruntime"
    assert missing.status == "failed"
    assert "AttributeError" in missing.reason
    assert (wrong.status, wrong.flows) == ("failed", None)
    assert wrong.reason == "its flow contains values that are not finite"
    assert good.status == "ok"


def test_an_interrupted_worker_is_ended(job, monkeypatch):
    processes = []
    popen = subprocess.Popen

    def start(*arguments, **options):
        processes.append(popen(*arguments, **options))
        return processes[-1]

    def interrupt(text):
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.harness.worker_client.subprocess.Popen", start)
    monkeypatch.setattr("bench.harness.worker_client.json.dumps", interrupt)
    with pytest.raises(KeyboardInterrupt):
        WorkerProcess(job)
    assert processes[0].returncode == -signal.SIGKILL
    assert processes[0].stdout.closed


def test_an_interrupt_while_the_clock_starts_leaves_no_thread(job, monkeypatch):
    timers = []
    start = threading.Timer.start

    def start_and_interrupt(timer):
        start(timer)
        timers.append(timer)
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.harness.worker_client.threading.Timer.start", start_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        WorkerProcess(job)
    timers[0].join(timeout=10)
    assert not timers[0].is_alive()


def test_the_timeout_includes_the_measurement(job):
    with contextlib.closing(WorkerProcess(job)) as worker:
        worker._timeout = 0.1
        assert worker.ask({"measure": 0.2}, seconds=0.2)["latency_ms"]


def test_a_worker_that_hangs(job):
    with pytest.raises(WorkerError, match=r"no answer within 2 s") as caught:
        WorkerProcess(replace(job, factory="fakes:Hangs"), timeout=2)
    assert caught.value.status == "failed"
