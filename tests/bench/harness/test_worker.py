"""Workers and rounds, with fake runners."""

import contextlib
import itertools
import signal
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.harness.arrays import load_arrays, save_arrays
from bench.harness.interleave import measure_rows
from bench.harness.plan import Row
from bench.harness.worker import Job, Session
from bench.harness.worker_client import WorkerError, WorkerProcess
from engine.data.pair import Pair

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
    save_arrays(tmp_path / "pairs.npz", rng.integers(0, 256, (6, 20, 30, 3), np.uint8))
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
    return Row(name, "opencv", "fp32", (20, 30), 2)


def red_differences(job):
    """Return the flows of `Runner` for the job's pairs."""
    images = [image[..., 0].astype(np.float32) for image in load_arrays(Path(job.pairs))]
    pairs = zip(images[::2], images[1::2], strict=True)
    return [np.stack([two - one] * 2, -1) for one, two in pairs]


def measure(jobs, folder, *, rounds=2, record=lambda *_: None, untimed=None):
    """Measure rows on the pairs of the first job, in chunks of two."""
    images = load_arrays(Path(jobs[0].pairs))
    pairs = [Pair.without_flow("", *each) for each in zip(images[::2], images[1::2], strict=True)]
    return measure_rows(
        [(row_of(job.network), job) for job in jobs],
        untimed=untimed,
        chunks=filter(None, [pairs[:2], pairs[2:]]),
        record=record,
        rounds=rounds,
        seconds=1e-3,
        folder=folder,
        progress=lambda _: None,
    )


@pytest.mark.parametrize("multiple", [1, 16])
def test_flows_of_every_pair_in_order(job, tmp_path, multiple):
    flows = []
    (measurement,) = measure(
        [replace(job, multiple=multiple)],
        tmp_path,
        rounds=0,
        record=lambda row, pairs, found: flows.extend(found),
    )
    # Three pairs in padded batches of two: the result shows neither batches nor padding.
    np.testing.assert_array_equal(flows, red_differences(job))
    assert (measurement.device, measurement.runtime_version) == ("cpu", "1.2")


def test_rounds_interleave(job, tmp_path):
    measured = measure([job, replace(job, network="B")], tmp_path, rounds=3)
    calls = (tmp_path / "log").read_text()
    order = "".join(name for i, name in enumerate(calls) if i == 0 or calls[i - 1] != name)
    assert order == "AB" * 6  # opening, two chunks of pairs, then three rounds
    for measurement in measured:
        entry = measurement.to_json()
        assert entry["latency_ms"]["n"] == len(entry["raw_latency_ms"])
        assert len(entry["round_lengths"]) == 3
        assert sum(entry["round_lengths"]) == entry["latency_ms"]["n"]
        assert entry["fps"] == pytest.approx(2e3 / entry["latency_ms"]["mean"])
        assert entry["device_ms"] is None
        assert entry["peak_memory_mb"] > 1


def test_pairs_of_different_sizes_are_timed_in_whole_passes(job, tmp_path):
    """Each of the two pairs is called twice a pass, of which the second call is timed."""
    sizes = [(20, 30), (20, 30), (8, 50), (8, 50)]
    save_arrays(job.pairs, [np.full((*size, 3), i, np.uint8) for i, size in enumerate(sizes)])
    flows = []
    (measurement,) = measure(
        [replace(job, batch=1, multiple=16)],
        tmp_path,
        record=lambda row, pairs, found: flows.extend(found),
    )
    assert [flow.shape for flow in flows] == [(20, 30, 2), (8, 50, 2)]
    assert all((flow == 1).all() for flow in flows)
    assert all(length % 2 == 0 for length in measurement.round_lengths)
    untimed = 1 + 2 + sum(measurement.round_lengths)  # opening, flows, first calls
    assert len((tmp_path / "log").read_text()) == untimed + sum(measurement.round_lengths)


def test_an_untimed_row_computes_flows_alone(job, tmp_path):
    rows = []
    untimed = row_of("A")
    first, second = measure(
        [job, replace(job, network="B")],
        tmp_path,
        untimed=untimed,
        record=lambda row, *_: rows.append(row.network),
    )
    assert rows == ["A", "B", "A", "B"]
    assert (first.status, first.latency_ms) == ("ok", [])
    assert second.latency_ms


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
    session.flows(job.pairs, str(tmp_path / "flows.npz"))
    assert session.measure(1.0)["latency_ms"] == [10.0, 15.0]
    # Two batches of the three pairs; four samples including the warm-up, of four results each.
    assert (tmp_path / "log").read_text() == "AA." + "A" * 16 + "."
    flows = load_arrays(tmp_path / "flows.npz")
    np.testing.assert_array_equal(flows, red_differences(job))


def test_a_video_has_every_image_with_the_next(job, tmp_path, monkeypatch):
    """Every pair then takes the same time."""
    monkeypatch.syspath_prepend(tmp_path)
    images = [np.full((4, 4, 3), value, np.uint8) for value in (0, 10, 1, 11, 2, 12)]
    save_arrays(job.pairs, images)
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
    assert dies.status == "failed"
    assert "the process ended by SIGABRT: last words" in dies.reason
    assert refuses.status == "skipped"
    assert refuses.reason == "fakeruntime is not installed: pip install fakeruntime"
    assert missing.status == "failed"
    assert "AttributeError" in missing.reason
    assert wrong.status == "failed"
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
    timers[0].join(timeout=60)
    assert not timers[0].is_alive()


def test_the_timeout_includes_the_measurement(job):
    with contextlib.closing(WorkerProcess(job)) as worker:
        worker._timeout = 0.1
        assert worker.ask({"measure": 0.5}, seconds=0.5)["latency_ms"]


def test_a_worker_that_hangs(job):
    with pytest.raises(WorkerError, match=r"no answer within 2 s") as caught:
        WorkerProcess(replace(job, factory="fakes:Hangs"), timeout=2)
    assert caught.value.status == "failed"
