"""The TensorRT backend runs; run by test_tensorrt.py.

``TENSORRT_PACKAGE`` names the package whose bindings are tested.
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
    CAPTURES_GRAPHS,
    PACKAGE,
    PROFILE,
    check_run,
    open_backend,
    pair,
)


def test_attributes(backend, bindings):
    assert (backend.name, backend.device) == ("tensorrt", "cuda:0")
    assert backend.runtime_version == f"{PACKAGE} {bindings.__version__}"
    assert backend.profile == PROFILE


def test_run_returns_new_arrays(backend):
    first = check_run(backend, (1, 64, 64), seed=1)
    copy = first.copy()
    second = check_run(backend, (1, 64, 64), seed=2)
    assert type(first) is np.ndarray
    assert first.base is None
    assert first.flags.writeable
    assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(first, copy)


def test_sizes_may_change_and_buffers_only_grow(backend, cu):
    check_run(backend, (1, 64, 64))
    small = set(cu.blocks)
    check_run(backend, (2, 128, 192))
    large = set(cu.blocks)
    assert not small & large
    for size in ((1, 64, 64), (1, 64, 64), (2, 64, 192), (2, 128, 192)):
        check_run(backend, size, seed=size[2])
        assert set(cu.blocks) == large


def test_every_shape_is_captured_on_its_second_run_and_then_launched(backend, libcuda, contexts):
    for runs, size in ((3, (1, 64, 64)), (3, (1, 64, 128)), (1, (1, 64, 64))):
        for seed in range(runs):
            check_run(backend, size, seed=seed)
    assert libcuda.launches == (4 if CAPTURES_GRAPHS else 0)
    assert libcuda.graphs == {}
    assert libcuda.executables == {}


def test_tensorrt_for_rtx_captures_graphs_itself(backend, contexts, bindings):
    check_run(backend, (1, 64, 64))
    (config,) = contexts.configs
    if CAPTURES_GRAPHS:
        assert config is None
    else:
        assert config.cuda_graph_strategy == bindings.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE


@pytest.mark.skipif(not CAPTURES_GRAPHS, reason="TensorRT for RTX captures graphs itself")
def test_a_failed_capture_is_logged_and_runs_continue(backend, libcuda, caplog):
    libcuda.refuses_capture = True
    for seed in range(4):
        check_run(backend, (1, 64, 64), seed=seed)
    assert libcuda.launches == 0
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "cuStreamEndCapture: operation failed due to a previous error" in caplog.text


@pytest.mark.skipif(not CAPTURES_GRAPHS, reason="TensorRT for RTX captures graphs itself")
def test_an_error_during_capture_is_logged(backend, libcuda, contexts, caplog):
    """And not the following error of the end of the capture."""
    check_run(backend, (1, 64, 64))
    libcuda.refuses_capture = True
    contexts.refused = {"execute_async_v3"}
    with pytest.raises(BackendError, match="refused to run"):
        backend.run(*pair(1, 64, 64))
    assert "TensorRT refused to run" in caplog.text
    assert "cuStreamEndCapture" not in caplog.text


def test_device_ms_excludes_copies(backend, libcuda):
    assert backend.device_ms() is None
    check_run(backend, (1, 64, 64))
    # The fake clock counts the work between the events: one launch, no copies.
    assert backend.device_ms() == 1.0
    assert libcuda.launches == (2 if CAPTURES_GRAPHS else 0)
    check_run(backend, (1, 64, 64), seed=3)


def test_threads_run_concurrently(backend, contexts, cu):
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
    running, proceed = threading.Event(), threading.Event()
    contexts.on_enqueue = lambda: (running.set(), proceed.wait(20))
    with ThreadPoolExecutor(2) as threads:
        run = threads.submit(check_run, backend, (1, 64, 64))
        assert running.wait(20)
        close = threads.submit(backend.close)
        with pytest.raises(TimeoutError):
            close.result(0.05)
        proceed.set()
        run.result(20)
        close.result(20)


def test_close_frees_everything(backend, cu):
    check_run(backend, (1, 64, 64))
    assert cu.alive
    backend.close()
    backend.close()
    assert not cu.alive
    with pytest.raises(BackendError, match="this backend is closed; load the bundle again"):
        backend.run(*pair(1, 64, 64))


def test_a_stored_exception_keeps_no_memory(bundle, contexts, cu):
    opened = open_backend(bundle)
    contexts.refused = {"execute_async_v3"}
    with pytest.raises(BackendError) as stored:
        opened.run(*pair(1, 64, 64))
    opened.close()
    assert cu.blocks == {}
    del stored
    gc.collect()
    assert not cu.leaked


def test_a_dropped_backend_frees_everything(bundle, contexts, cu):
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


def test_creating_a_context_or_launching_fails(backend, contexts):
    contexts.refused.add("create_execution_context")
    with pytest.raises(BackendError, match=r"refused an execution context .too little device mem"):
        backend.run(*pair(1, 64, 64))
    contexts.refused = {"execute_async_v3"}
    with pytest.raises(BackendError, match=r"refused to run on cuda:0 .*TensorRT gave no reason"):
        backend.run(*pair(1, 64, 64))
    contexts.refused = set()
    check_run(backend, (1, 64, 64))


def test_a_flow_of_another_shape_is_never_written(backend, contexts):
    """The buffer would be too small for it."""
    contexts.channels = 4
    with pytest.raises(BackendError, match=r"returns a flow of \(1, 64, 64, 4\) for images of"):
        backend.run(*pair(1, 64, 64))
    contexts.channels = 2
    check_run(backend, (1, 64, 64), seed=1)
