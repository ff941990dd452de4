"""Streams, CUDA graphs and lifetimes of flows on the device; run by test_tensorrt.py.

``TENSORRT_PACKAGE`` names the package whose bindings are tested.
"""

import threading

import numpy as np
import pytest

from engine import FlowEngine
from engine.backends.tensorrt import backend as tensorrt
from engine.cuda import graphs
from engine.errors import BackendError
from tests.contract.foreign_arrays import (
    CudaArray,
    CupyStream,
    DlpackArray,
    TorchStream,
    content_of,
    images_of,
    on_device,
)
from tests.contract.tensorrt_double import (
    CAPTURES_GRAPHS,
    PLAN,
    check_run,
    expected_flow,
    manifest_with,
    pair,
)


@pytest.mark.skipif(not CAPTURES_GRAPHS, reason="TensorRT for RTX captures graphs itself")
def test_no_thread_synchronises_during_a_capture(
    flow_engine, backend, cu, libcuda, contexts, caplog
):
    images = images_of((64, 64))
    read, dropped = (flow_engine.infer_device(*on_device(cu, images)) for _ in range(2))
    others, arrays = [], []

    def meanwhile():
        """Called at each launch; the second one of a shape on the host is a capture."""
        nonlocal dropped
        if any(queue.capturing is not None for queue in cu.queues.values()):
            others.append(threading.Thread(target=lambda: arrays.append(read.numpy())))
            others[-1].start()
            del dropped  # as garbage collection may, on this thread
            dropped = None
            others[-1].join(0.1)
            assert others[-1].is_alive()

    contexts.on_enqueue = meanwhile
    for seed in range(3):
        check_run(backend, (1, 64, 64), seed=seed)
    contexts.on_enqueue = lambda: None  # its closure refers to the read flow
    others[0].join(20)
    np.testing.assert_array_equal(arrays[0], expected_flow(images))
    assert libcuda.launches == 2
    assert caplog.text == ""


@pytest.mark.parametrize(("kind", "given"), [(CudaArray, TorchStream), (CudaArray, CupyStream),
                         (DlpackArray, int)])  # fmt: skip
@pytest.mark.parametrize("with_out", [False, True])
@pytest.mark.parametrize("shape", [(64, 128), (2, 65, 130)])
def test_work_is_ordered_in_the_callers_stream(flow_engine, cu, shape, with_out, kind, given):
    handle = cu.foreign_stream()
    arrays = [kind(cu, (*shape, 3), stream=handle) for _ in range(2)]
    out = kind(cu, (*shape, 2), np.float32) if with_out else None
    read, flows = [], []
    runs = [images_of(shape) for _ in range(4)]
    for images in runs:
        for array, image in zip(arrays, images, strict=True):
            array.fill(image, stream=handle)
        flow = flow_engine.infer_device(*arrays, out=out, stream=given(handle))
        assert flow.__cuda_array_interface__["stream"] == handle
        cu.queues[handle].submit(lambda flow=flow: read.append(content_of(cu, flow).copy()))
        flows.append(flow)
    assert read == []
    cu.queues[handle].drain()
    for images, flow in zip(runs, read, strict=True):
        np.testing.assert_array_equal(flow, expected_flow(images))


def test_the_callers_stream_may_be_the_legacy_default_stream(flow_engine, cu):
    for handle in (0, 1):
        images = images_of((64, 64))
        arrays = [CudaArray(cu, (64, 64, 3)).fill(image, stream=handle) for image in images]
        flow = flow_engine.infer_device(*arrays, stream=handle)
        assert flow.__cuda_array_interface__["stream"] == 1
        cu.queues[handle].drain()
        np.testing.assert_array_equal(content_of(cu, flow), expected_flow(images))


def test_a_pycuda_stream(flow_engine, backend, cu):
    images = images_of((60, 60))
    with backend._slots._device.current():
        stream = cu.Stream(1)
        flow = flow_engine.infer_device(*on_device(cu, images), stream=stream)
        stream.synchronize()
    np.testing.assert_array_equal(content_of(cu, flow), expected_flow(images))
    del flow
    with backend._slots._device.current():
        del stream


@pytest.mark.parametrize("shape", [(64, 64), (70, 70)])
def test_without_a_stream_it_follows_the_legacy_default_stream(flow_engine, cu, shape):
    for _ in range(3):
        images = images_of(shape)
        arrays = [CudaArray(cu, (*shape, 3)).fill(image, stream=0) for image in images]
        flow = flow_engine.infer_device(*arrays)
        np.testing.assert_array_equal(content_of(cu, flow), expected_flow(images))


@pytest.mark.parametrize("kind", [CudaArray, DlpackArray])
@pytest.mark.parametrize("has_stream", [False, True])
def test_waits_for_the_stream_of_an_array(flow_engine, cu, has_stream, kind):
    filling, busy, mine = (cu.foreign_stream() for _ in range(3))
    images = images_of((64, 100))
    arrays = [kind(cu, (64, 100, 3), stream=filling) for _ in images]
    for array, image in zip(arrays, images, strict=True):
        array.fill(image, stream=filling)
    # Another stream still reads `out`.
    out = kind(cu, (64, 100, 2), np.float32, stream=busy).fill(np.float32(1))
    seen = []
    cu.queues[busy].submit(lambda: seen.append(out.array.copy()))
    flow_engine.infer_device(*arrays, out=out, stream=mine if has_stream else None)
    cu.queues[mine].drain()
    np.testing.assert_array_equal(out.array, expected_flow(images))
    assert (seen[0] == 1).all()


def test_an_invalid_stream(flow_engine, cu):
    arrays = on_device(cu, images_of((64, 64)))
    with pytest.raises(BackendError, match=r"cuEventRecord: invalid resource handle"):
        flow_engine.infer_device(*arrays, stream=12345)
    flow_engine.infer_device(*arrays)


def test_every_stream_has_a_slot_up_to_the_limit(flow_engine, cu, contexts):
    handles = [cu.foreign_stream() for _ in range(tensorrt.MAX_SLOTS + 2)]
    expected, flows = [], []
    for slots, handle in enumerate(handles, 1):
        for size in ((64, 64), (70, 64)):
            images = images_of(size)
            flows.append(flow_engine.infer_device(*on_device(cu, images), stream=handle))
            expected.append(expected_flow(images))
        assert len(contexts.made) == min(slots, tensorrt.MAX_SLOTS)
    for handle in reversed(handles):
        cu.queues[handle].drain()
    for flow, values in zip(flows, expected, strict=True):
        np.testing.assert_array_equal(content_of(cu, flow), values)


def test_callers_who_wait_share_a_slot(flow_engine, cu, contexts):
    stream = cu.foreign_stream()
    for shape in ((64, 64), (1, 70), (128, 64)):
        images = images_of(shape)
        np.testing.assert_array_equal(flow_engine.infer(*images), expected_flow(images))
        flow_engine.infer_device(*on_device(cu, images))
    flow_engine.infer_device(*on_device(cu, images), stream=stream)
    assert len(contexts.made) == 1
    # The slot may be working in that stream: others do not wait for it.
    np.testing.assert_array_equal(flow_engine.infer(*images), expected_flow(images))
    assert len(contexts.made) == 2
    cu.queues[stream].drain()


@pytest.mark.skipif(not CAPTURES_GRAPHS, reason="TensorRT for RTX captures graphs itself")
def test_graphs_of_one_shape_are_stored_by_addresses(flow_engine, cu, libcuda):
    out = CudaArray(cu, (64, 64, 2), np.float32)
    pairs = [on_device(cu, images_of((64, 64))) for _ in range(graphs.MAX_GRAPHS + 1)]

    def run(index):
        before = libcuda.launches
        flow_engine.infer_device(*pairs[index], out=out)
        expected = expected_flow([image.array for image in pairs[index]])
        np.testing.assert_array_equal(out.array, expected)
        return libcuda.launches - before

    most = graphs.MAX_GRAPHS
    assert [run(index) for _ in range(3) for index in range(most)] == [0] * most + [1] * 2 * most
    assert len(libcuda.executables) == most
    # One more replaces the least recently used.
    run(0)
    assert [run(most), run(most)] == [0, 1]
    assert [run(0), run(1)] == [1, 0]
    assert len(libcuda.executables) == most - 1
    # Another shape drops all.
    flow_engine.infer_device(*on_device(cu, images_of((64, 128))))
    assert libcuda.executables == {}
    assert [run(0), run(0)] == [0, 1]


def test_host_and_device_runs_alternate(flow_engine, cu):
    stream = cu.foreign_stream()
    expected, flows = [], []
    for shape in [(65, 65), (1, 1), (128, 200), (65, 65)] * 2:
        images = images_of(shape)
        for order in (stream, None):
            flows.append(flow_engine.infer_device(*on_device(cu, images), stream=order))
            expected.append(expected_flow(images))
        host = images_of(shape)
        np.testing.assert_array_equal(flow_engine.infer(*host), expected_flow(host))
    cu.queues[stream].drain()
    for flow, values in zip(flows, expected, strict=True):
        np.testing.assert_array_equal(content_of(cu, flow), values)


def test_two_streams_use_two_slots(backend, contexts):
    flow_engine = FlowEngine(manifest_with(PLAN), backend, streams=2)
    pairs = [pair(1, 64, 64 * (1 + seed % 4), seed=seed) for seed in range(12)]
    futures = [flow_engine.infer_async(*images) for images in pairs]
    for images, future in zip(pairs, futures, strict=True):
        np.testing.assert_array_equal(future.result(30), expected_flow(images))
    assert len(contexts.made) <= 2


def test_a_flow_is_not_freed_under_a_reader(flow_engine, cu):
    images = images_of((64, 64))
    stream = cu.foreign_stream()
    flow = flow_engine.infer_device(*on_device(cu, images), stream=stream)
    read, memory = [], content_of(cu, flow)
    address = flow.__cuda_array_interface__["data"][0]
    cu.queues[stream].submit(lambda: read.append(cu.memory(address, memory.nbytes).copy()))
    del flow
    np.testing.assert_array_equal(read[0].view(np.float32), expected_flow(images).reshape(-1))
    assert cu.blocks == {}


def test_close_waits_for_the_gpu(flow_engine, cu):
    images = images_of((65, 65))
    stream = cu.foreign_stream()
    flow = flow_engine.infer_device(*on_device(cu, images), stream=stream)
    flow_engine.close()
    np.testing.assert_array_equal(content_of(cu, flow), expected_flow(images))
    with pytest.raises(BackendError, match="this engine is closed"):
        flow_engine.infer_device(*on_device(cu, images))
