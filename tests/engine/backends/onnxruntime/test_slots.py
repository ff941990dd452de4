"""Execution slots of ONNX Runtime on GPUs: buffers, CUDA graphs and threads."""

import logging
import shutil
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest

from engine.backends.onnxruntime.cuda_backend import MAX_SLOTS, OnnxRuntimeCudaBackend
from tests.support.onnxruntime_double import opened


@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize("max_graphs", [0, 2, 4])
def test_sizes_may_alternate(
    gpu, monkeypatch, tiny_bundle, tiny_flow, pair_of, streams, max_graphs
):
    monkeypatch.setattr(OnnxRuntimeCudaBackend, "max_graphs", max_graphs)
    backend = opened(tiny_bundle, streams=streams)
    assert (backend.name, backend.device, backend.profile) == ("onnxruntime-cuda", "cuda:0", None)
    reference = onnxruntime.InferenceSession.__mro__[1](tiny_bundle / "model.onnx")
    sizes = [(64, 64), (64, 64), (64, 128), (128, 64), (64, 64, 2), (64, 128), (192, 64), (64, 64)]
    flows = []
    for size in sizes:
        pair = pair_of(*size)
        flow = backend.run(backend.prepare(pair[0]), backend.prepare(pair[1]))
        (direct,) = reference.run(None, dict(zip(("image1", "image2"), pair, strict=True)))
        np.testing.assert_array_equal(flow, direct)
        np.testing.assert_allclose(flow, tiny_flow(*pair), atol=1e-5)
        assert flow.dtype == np.float32
        assert flow.flags.writeable
        flows.append((flow, flow.copy()))
    for flow, then in flows:  # no later run writes into a returned flow
        np.testing.assert_array_equal(flow, then)
    backend.close()


def test_the_first_sizes_have_a_graph_each(gpu, tiny_bundle, pair_of, caplog):
    caplog.set_level(logging.INFO, logger="engine")
    backend = opened(tiny_bundle)
    assert [session.has_graphs for session in gpu.sessions] == [True]  # before the first pair
    sizes = [(64, 64), (64, 128), (128, 64), (64, 64, 2), (192, 64), (64, 192)]
    for size in sizes * 3:
        backend.run(*pair_of(*size))
    assert [session.has_graphs for session in gpu.sessions] == [True] * 4 + [False]
    *captured, others = gpu.sessions
    for session, (height, width, *batch) in zip(captured, sizes[:4], strict=True):
        shape = (*(batch or [1]), height, width, 2)
        assert session.shapes == [shape] * 3
        # A graph's buffers stay in place.
        assert len({address for _, address, _ in session.runs}) == 1
    assert set(others.shapes) == {(1, 192, 64, 2), (1, 64, 192, 2)}
    assert caplog.messages == ["sizes after the first 4 run without a CUDA graph"]
    backend.close()


def test_buffers_are_allocated_once_per_size(gpu, monkeypatch, tiny_bundle, pair_of):
    made = []
    real = onnxruntime.OrtValue.ortvalue_from_shape_and_type

    def counted(shape, *rest, **more):
        made.append(tuple(shape))
        return real(shape, *rest, **more)

    monkeypatch.setattr(onnxruntime.OrtValue, "ortvalue_from_shape_and_type", counted)
    backend = opened(tiny_bundle)
    for size in [(64, 64), (64, 128)] * 5:
        backend.run(*pair_of(*size))
    image, wide = (1, 64, 64, 3), (1, 64, 128, 3)
    assert made == [image, image, (1, 64, 64, 2), wide, wide, (1, 64, 128, 2)]
    backend.close()


def test_one_thread_runs_all_sessions_with_graphs(gpu, tiny_bundle, tiny_flow, pair_of):
    inside = threading.Semaphore(1)

    def alone(session):
        assert inside.acquire(blocking=False), "two runs at once"
        threading.Event().wait(0.001)
        inside.release()

    gpu.on_run = alone
    backend = opened(tiny_bundle)
    pairs = [pair_of(*size) for size in [(64, 64), (64, 128), (128, 64)] * 8]
    with ThreadPoolExecutor(6) as pool:
        flows = list(pool.map(lambda pair: backend.run(*pair), pairs))
    for pair, flow in zip(pairs, flows, strict=True):
        np.testing.assert_allclose(flow, tiny_flow(*pair), atol=1e-5)
    callers = {thread for session in gpu.sessions for _, _, thread in session.runs}
    assert len(callers) == 1
    assert threading.get_ident() not in callers
    backend.close()


def test_streams_run_concurrently_without_graphs(gpu, tiny_bundle, tiny_flow, pair_of):
    backend = opened(tiny_bundle, streams=3)
    together = threading.Barrier(3)
    gpu.on_run = lambda session: together.wait(timeout=30)  # broken unless three are inside
    pairs = [pair_of(*size) for size in [(64, 64), (64, 128), (128, 64)] * 4]
    with ThreadPoolExecutor(6) as pool:
        flows = list(pool.map(lambda pair: backend.run(*pair), pairs))
    for pair, flow in zip(pairs, flows, strict=True):
        np.testing.assert_allclose(flow, tiny_flow(*pair), atol=1e-5)
    (session,) = gpu.sessions
    assert not session.has_graphs
    assert len(session.runs) == len(pairs)
    backend.close()


def test_callers_beyond_the_slots_wait(gpu, tiny_bundle, pair_of):
    backend = opened(tiny_bundle, streams=MAX_SLOTS + 2)
    inside, go_on = threading.Semaphore(0), threading.Event()

    def stop(session):
        inside.release()
        go_on.wait(30)

    gpu.on_run = stop
    with ThreadPoolExecutor(MAX_SLOTS + 2) as pool:
        flows = [pool.submit(backend.run, *pair_of(64, 64)) for _ in range(MAX_SLOTS + 2)]
        for _ in range(MAX_SLOTS):
            assert inside.acquire(timeout=30)
        assert not inside.acquire(timeout=0.2)  # the other two wait for a slot
        go_on.set()
        assert all(flow.result().shape == (1, 64, 64, 2) for flow in flows)
    backend.close()


@pytest.mark.parametrize("streams", [1, 2])
def test_a_failed_run_raises_and_the_next_one_works(gpu, tiny_bundle, tiny_flow, pair_of, streams):
    backend = opened(tiny_bundle, streams=streams)
    pair = pair_of(64, 64)
    backend.run(*pair)

    def fail(session):
        raise RuntimeError("an illegal memory access was encountered")

    gpu.on_run = fail
    for _ in range(4):
        with pytest.raises(RuntimeError, match="illegal memory access"):
            backend.run(*pair)
    assert len(gpu.sessions) == 1  # a captured graph is not blamed
    gpu.on_run = lambda session: None
    np.testing.assert_allclose(backend.run(*pair), tiny_flow(*pair), atol=1e-5)
    backend.close()


REFUSED = "This session cannot use the graph capture feature as requested by the user"


def refuse_graphs(session):
    if session.has_graphs:
        raise RuntimeError(f"[ONNXRuntimeError] : 1 : FAIL : {REFUSED}")


def test_without_graphs_if_opening_refuses_them(gpu, tiny_bundle, tiny_flow, pair_of, caplog):
    gpu.on_open = refuse_graphs
    backend = opened(tiny_bundle)
    (message,) = caplog.messages
    assert message.startswith("no CUDA graph, kernels are launched one by one: onnxruntime ")
    assert message.endswith(REFUSED)
    for size in [(64, 64), (64, 128), (64, 64)]:
        pair = pair_of(*size)
        np.testing.assert_allclose(backend.run(*pair), tiny_flow(*pair), atol=1e-5)
    assert [session.has_graphs for session in gpu.sessions] == [False]
    assert backend.device_ms() > 0
    assert len(caplog.messages) == 1
    backend.close()


def test_without_graphs_if_capture_fails(gpu, tiny_bundle, tiny_flow, pair_of, caplog):
    backend = opened(tiny_bundle)
    caplog.set_level(logging.INFO, logger="engine")
    first = pair_of(64, 64)
    backend.run(*first)
    gpu.on_run = lambda session: session.runs or refuse_graphs(session)
    for size in [(64, 128), (128, 64), (64, 128)]:
        pair = pair_of(*size)
        np.testing.assert_allclose(backend.run(*pair), tiny_flow(*pair), atol=1e-5)
    np.testing.assert_allclose(backend.run(*first), tiny_flow(*first), atol=1e-5)
    captured, broken, plain = gpu.sessions
    assert [captured.has_graphs, broken.has_graphs, plain.has_graphs] == [True, True, False]
    assert [len(session.runs) for session in gpu.sessions] == [2, 0, 3]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert REFUSED in caplog.text
    backend.close()


def test_a_failure_with_and_without_graphs_does_not_disable_graphs(
    gpu, tiny_bundle, tiny_flow, pair_of, caplog
):
    def fail(session):
        raise RuntimeError(f"out of memory, graphs: {session.has_graphs}")

    backend = opened(tiny_bundle)
    pair = pair_of(64, 64)
    gpu.on_run = fail
    with pytest.raises(RuntimeError, match="out of memory, graphs: False"):
        backend.run(*pair)
    gpu.on_run = lambda session: None
    np.testing.assert_allclose(backend.run(*pair), tiny_flow(*pair), atol=1e-5)
    assert gpu.sessions[-1].has_graphs
    assert "no CUDA graph" not in caplog.text
    backend.close()


@pytest.mark.parametrize("streams", [1, 2])
def test_device_ms_copies_nothing(gpu, monkeypatch, tiny_bundle, pair_of, streams):
    backend = opened(tiny_bundle, streams=streams)
    assert backend.device_ms() is None
    for size in [(64, 64), (64, 128), (64, 64), (192, 128)]:
        backend.run(*pair_of(*size))

    def refuse(*arguments):
        raise AssertionError("copied")

    monkeypatch.setattr(onnxruntime.OrtValue, "update_inplace", refuse)
    monkeypatch.setattr(onnxruntime.IOBinding, "copy_outputs_to_cpu", refuse)
    before = [len(session.runs) for session in gpu.sessions]
    assert backend.device_ms() > 0
    (session,) = [
        session for count, session in zip(before, gpu.sessions, strict=True)
        if len(session.runs) == count + 1
    ]  # fmt: skip
    assert session.shapes[-2:] == [(1, 192, 128, 2)] * 2  # the last run
    backend.close()


@pytest.mark.parametrize("how", ["close", "drop"])
@pytest.mark.parametrize("streams", [1, 2])
def test_close_or_drop_frees_everything(gpu, tiny_bundle, pair_of, streams, how, new_threads):
    backend = opened(tiny_bundle, streams=streams)
    for size in [(64, 64), (64, 128)]:
        backend.run(*pair_of(*size))
    sessions = [weakref.ref(session) for session in gpu.sessions]
    gpu.sessions.clear()
    if how == "close":
        backend.close()
        assert new_threads() == []
    else:
        del backend
    assert [session() for session in sessions] == [None] * len(sessions)


def test_all_sizes_use_the_checked_file(gpu, tiny_bundle, tiny_flow, pair_of, tmp_path):
    """Although it changes: each of the first sizes opens a session."""
    bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    backend = opened(bundle)
    for size in [(64, 64), (64, 128), (128, 64)]:
        pair = pair_of(*size)
        np.testing.assert_allclose(backend.run(*pair), tiny_flow(*pair), atol=1e-5)
        (bundle / "model.onnx").write_bytes(b"another model")
    backend.close()
    assert len(gpu.sessions) == 3
