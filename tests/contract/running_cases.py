"""The TensorRT backend runs; run by test_tensorrt.py, not collected.

``TENSORRT_PACKAGE`` says whose bindings: ``tensorrt`` or ``tensorrt_rtx``.
"""

import gc
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from engine.backends.tensorrt import backend as tensorrt
from engine.errors import BackendError
from tests.contract.tensorrt_double import (
    PACKAGE,
    PROFILE,
    RECORDS_GRAPHS,
    check_run,
    open_backend,
    pair,
)


def test_open_tells_device_version_and_profile(backend, bindings):
    assert (backend.name, backend.device) == ("tensorrt", "cuda:0")
    assert backend.runtime_version == f"{PACKAGE} {bindings.__version__}"
    assert backend.profile == PROFILE


def test_run_returns_arrays_of_the_caller(backend):
    first = check_run(backend, (1, 64, 64), seed=1)
    kept = first.copy()
    second = check_run(backend, (1, 64, 64), seed=2)
    assert type(first) is np.ndarray
    assert first.base is None
    assert first.flags.writeable
    assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(first, kept)


def test_sizes_may_change_and_buffers_only_grow(backend, cu):
    check_run(backend, (1, 64, 64))
    small = set(cu.blocks)
    check_run(backend, (2, 128, 192))
    large = set(cu.blocks)
    assert not small & large
    for size in ((1, 64, 64), (1, 64, 64), (2, 64, 192), (2, 128, 192)):
        check_run(backend, size, seed=size[2])
        assert set(cu.blocks) == large


def test_every_shape_is_recorded_on_its_second_run_and_then_launched(backend, libcuda, contexts):
    for runs, size in ((3, (1, 64, 64)), (3, (1, 64, 128)), (1, (1, 64, 64))):
        for seed in range(runs):
            check_run(backend, size, seed=seed)
    assert libcuda.launches == (4 if RECORDS_GRAPHS else 0)
    assert libcuda.graphs == {}
    assert libcuda.executables == {}


def test_tensorrt_for_rtx_records_graphs_itself(backend, contexts, bindings):
    check_run(backend, (1, 64, 64))
    (config,) = contexts.configs
    if RECORDS_GRAPHS:
        assert config is None
    else:
        assert config.cuda_graph_strategy == bindings.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE


@pytest.mark.skipif(not RECORDS_GRAPHS, reason="TensorRT for RTX records graphs itself")
def test_a_refused_recording_is_told_and_runs_go_on(backend, libcuda, caplog):
    libcuda.refuses_capture = True
    for seed in range(4):
        check_run(backend, (1, 64, 64), seed=seed)
    assert libcuda.launches == 0
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "cuStreamEndCapture: operation failed due to a previous error" in caplog.text


@pytest.mark.skipif(not RECORDS_GRAPHS, reason="TensorRT for RTX records graphs itself")
def test_a_recording_that_fails_says_why(backend, libcuda, contexts, caplog):
    """And not that the end of the recording failed, too."""
    check_run(backend, (1, 64, 64))
    libcuda.refuses_capture = True
    contexts.refused = {"execute_async_v3"}
    with pytest.raises(BackendError, match="refused to run"):
        backend.run(*pair(1, 64, 64))
    assert "TensorRT refused to run" in caplog.text
    assert "cuStreamEndCapture" not in caplog.text


def test_device_ms_times_the_network_alone(backend, libcuda):
    assert backend.device_ms() is None
    check_run(backend, (1, 64, 64))
    # The fake's clock counts what is queued between the events: no copies, one launch.
    assert backend.device_ms() == 1.0
    assert libcuda.launches == (2 if RECORDS_GRAPHS else 0)
    check_run(backend, (1, 64, 64), seed=3)


def test_threads_run_at_the_same_time(backend, contexts, cu):
    together = threading.Barrier(tensorrt.MAX_SLOTS, timeout=20)
    contexts.on_enqueue = together.wait
    with ThreadPoolExecutor(tensorrt.MAX_SLOTS) as threads:
        sizes = [(1, 64, 64 * (1 + seed % 4)) for seed in range(tensorrt.MAX_SLOTS)]
        list(threads.map(lambda size: check_run(backend, size, seed=size[2]), sizes))
    assert len(contexts.made) == tensorrt.MAX_SLOTS
    contexts.on_enqueue = lambda: time.sleep(0.005)
    with ThreadPoolExecutor(2 * tensorrt.MAX_SLOTS) as threads:
        list(threads.map(lambda seed: check_run(backend, (1, 64, 64), seed=seed), range(40)))
    assert len(contexts.made) == tensorrt.MAX_SLOTS


def test_one_caller_needs_one_context(backend, contexts):
    for seed in range(3):
        check_run(backend, (1, 64, 64), seed=seed)
    assert len(contexts.made) == 1


def test_close_waits_for_running_callers(backend, contexts):
    running, go_on = threading.Event(), threading.Event()
    contexts.on_enqueue = lambda: (running.set(), go_on.wait(20))
    with ThreadPoolExecutor(2) as threads:
        run = threads.submit(check_run, backend, (1, 64, 64))
        assert running.wait(20)
        close = threads.submit(backend.close)
        with pytest.raises(TimeoutError):
            close.result(0.05)
        go_on.set()
        run.result(20)
        close.result(20)


def test_close_frees_everything_and_is_final(backend, cu):
    check_run(backend, (1, 64, 64))
    assert cu.alive
    backend.close()
    backend.close()
    assert not cu.alive
    with pytest.raises(BackendError, match="this backend is closed; load the bundle again"):
        backend.run(*pair(1, 64, 64))


def test_an_error_that_somebody_keeps_holds_no_memory(bundle, contexts, cu):
    opened = open_backend(bundle)
    contexts.refused = {"execute_async_v3"}
    with pytest.raises(BackendError) as kept:
        opened.run(*pair(1, 64, 64))
    opened.close()
    assert cu.blocks == {}
    del kept
    gc.collect()
    assert not cu.leaked


def test_a_forgotten_backend_frees_everything(bundle, contexts, cu):
    opened = open_backend(bundle)
    check_run(opened, (1, 64, 64))
    del opened
    gc.collect()
    assert not cu.alive
    assert not cu.leaked


def test_two_devices(bundle, contexts, cu):
    first, second = open_backend(bundle), open_backend(bundle, device=1)
    check_run(first, (1, 64, 64))
    check_run(second, (1, 64, 64))
    assert second.device == "cuda:1"
    first.close()
    check_run(second, (1, 64, 64), seed=1)
    second.close()
    assert not cu.leaked


def test_a_size_outside_the_profile(backend):
    check_run(backend, (1, 64, 64))
    with pytest.raises(BackendError, match=r"refused image1 of shape \(1, 192, 64, 3\) on cuda:0 "
                       r"\(NVIDIA L4, .* 8\.9\): shape does not satisfy any profile"):  # fmt: skip
        backend.run(*pair(1, 192, 64))
    check_run(backend, (1, 64, 64), seed=1)


def test_out_of_device_memory(backend, cu):
    check_run(backend, (1, 64, 64))
    cu.capacity = 200_000
    with pytest.raises(BackendError, match=r"NVIDIA L4.*cuMemAlloc failed: out of memory"):
        backend.run(*pair(4, 128, 256))
    check_run(backend, (1, 64, 64), seed=1)


def test_a_context_or_a_launch_that_fails(backend, contexts):
    contexts.refused.add("create_execution_context")
    with pytest.raises(BackendError, match=r"refused an execution context .too little device mem"):
        backend.run(*pair(1, 64, 64))
    contexts.refused = {"execute_async_v3"}
    with pytest.raises(BackendError, match=r"refused to run on cuda:0 .*TensorRT gave no reason"):
        backend.run(*pair(1, 64, 64))
    contexts.refused = set()
    check_run(backend, (1, 64, 64))
