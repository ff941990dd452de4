"""Images and flow stay on the device; run by test_tensorrt.py, not collected.

``TENSORRT_PACKAGE`` says whose bindings: ``tensorrt`` or ``tensorrt_rtx``.
"""

import gc
import itertools
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from engine import FlowEngine
from engine.backends.tensorrt import backend as tensorrt
from engine.cuda import graphs
from engine.errors import BackendError, InputError
from engine.images import network_input, padded_size
from tests.contract.foreign_arrays import CudaArray, CupyStream, DlpackArray, TorchStream
from tests.contract.tensorrt_double import (
    PLAN,
    RECORDS_GRAPHS,
    check_run,
    expected_flow,
    manifest_with,
    pair,
)

# The profile's sizes are 64x64 to 128x256, its batches 1 to 4, the divisor is 64.
ALIGNED = [(64, 64), (128, 192), (1, 64, 64), (3, 128, 256)]
ODD = [(1, 1), (63, 64), (64, 63), (65, 100), (127, 255), (96, 96), (1, 64), (2, 1, 1),
       (4, 65, 129), (2, 64, 63), (2, 63, 64), (1, 33, 200)]  # fmt: skip
seeds = itertools.count()


@pytest.fixture
def flow_engine(backend):
    return FlowEngine(manifest_with(PLAN), backend)


def images_of(shape):
    return np.random.default_rng(next(seeds)).integers(0, 256, (2, *shape, 3), dtype=np.uint8)


def on_device(cu, images, kind=CudaArray, **layout):
    return [kind(cu, image.shape, **layout).fill(image) for image in images]


def now_in(cu, flow):
    """What is in a DeviceArray's memory, whether or not it is ready."""
    interface = flow.__cuda_array_interface__
    shape, strides = interface["shape"], interface["strides"]
    nbytes = np.dtype(np.float32).itemsize * int(np.prod(shape))
    if strides is not None:
        nbytes = sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True)) + 4
    memory = cu.memory(interface["data"][0], nbytes)
    return np.ndarray(shape, np.float32, memory, strides=strides)


@pytest.mark.parametrize("shape", ALIGNED)
@pytest.mark.parametrize("kind", [CudaArray, DlpackArray])
def test_images_are_read_and_the_flow_is_written_in_place(flow_engine, cu, contexts, kind, shape):
    for _ in range(3):
        images = images_of(shape)
        flow = flow_engine.infer_device(*on_device(cu, images, kind))
        np.testing.assert_array_equal(now_in(cu, flow), expected_flow(images))
        assert flow.shape == (*shape, 2)
        assert flow.__cuda_array_interface__["strides"] is None
        assert flow.__cuda_array_interface__["stream"] is None
        assert list(cu.blocks) == [flow.__cuda_array_interface__["data"][0]]
    assert cu.copies == 0
    assert len(contexts.made) == 1


@pytest.mark.skipif(not RECORDS_GRAPHS, reason="TensorRT for RTX records graphs itself")
def test_nothing_waits_for_the_gpu_while_a_graph_is_recorded(
    flow_engine, backend, cu, libcuda, contexts, caplog
):
    images = images_of((64, 64))
    read, dropped = (flow_engine.infer_device(*on_device(cu, images)) for _ in range(2))
    others, arrays = [], []

    def meanwhile():
        """Called at each launch; the second of this shape on the host is a recording."""
        nonlocal dropped
        if any(queue.capturing is not None for queue in cu.queues.values()):
            others.append(threading.Thread(target=lambda: arrays.append(read.numpy())))
            others[-1].start()
            del dropped  # as the collection of garbage may on this very thread
            dropped = None
            others[-1].join(0.1)
            assert others[-1].is_alive()

    contexts.on_enqueue = meanwhile
    for seed in range(3):
        check_run(backend, (1, 64, 64), seed=seed)
    contexts.on_enqueue = lambda: None  # it holds what was read
    others[0].join(20)
    np.testing.assert_array_equal(arrays[0], expected_flow(images))
    assert libcuda.launches == 2
    assert caplog.text == ""


@pytest.mark.parametrize("layout", [{}, {"gap": 7}, {"offset": 3}])
@pytest.mark.parametrize("shape", ODD)
def test_images_are_padded_as_on_the_host(flow_engine, cu, contexts, shape, layout):
    images = images_of(shape)
    flow = flow_engine.infer_device(*on_device(cu, images, **layout))
    np.testing.assert_array_equal(now_in(cu, flow), expected_flow(images))
    size = padded_size(*shape[-2:], 64)
    for name, image in zip(("image1", "image2"), images, strict=True):
        np.testing.assert_array_equal(contexts.inputs[name], network_input(image, size))
    count = shape[0] if len(shape) == 3 else 1
    assert cu.copies <= 2 * (count + 12)


@pytest.mark.parametrize("layout", [{"gap": 64}, {"offset": 128}])
@pytest.mark.parametrize("shape", ALIGNED)
def test_images_that_tensorrt_cannot_read_are_copied(flow_engine, cu, shape, layout):
    images = images_of(shape)
    flow = flow_engine.infer_device(*on_device(cu, images, **layout))
    np.testing.assert_array_equal(now_in(cu, flow), expected_flow(images))
    assert cu.copies == 2 * (shape[0] if len(shape) == 3 else 1)


def test_images_of_one_pair_may_lie_differently(flow_engine, cu):
    first, second = images = images_of((2, 64, 128))
    arrays = on_device(cu, [first], gap=5) + on_device(cu, [second])
    flow = flow_engine.infer_device(*arrays)
    np.testing.assert_array_equal(now_in(cu, flow), expected_flow(images))


@pytest.mark.parametrize("kind", [CudaArray, DlpackArray])
@pytest.mark.parametrize(("shape", "offset"), [((64, 64), 0), ((4, 128, 64), 0), ((65, 70), 0),
                         ((3, 65, 70), 0), ((64, 64), 128), ((2, 1, 1), 4)])  # fmt: skip
def test_out_is_written_and_nothing_is_allocated(flow_engine, cu, kind, shape, offset):
    out = kind(cu, (*shape, 2), np.float32, offset=offset)
    address = out.array.ctypes.data
    for run in range(4):
        blocks = list(cu.blocks)
        images = images_of(shape)
        flow = flow_engine.infer_device(*on_device(cu, images), out=out)
        np.testing.assert_array_equal(out.array, expected_flow(images))
        assert flow.__cuda_array_interface__["data"] == (address, False)
        assert flow.shape == (*shape, 2)
        assert run == 0 or list(cu.blocks) == blocks
    in_place = shape[-2:] in {(64, 64), (128, 64)} and not offset
    assert (cu.copies == 0) == in_place


@pytest.mark.parametrize(("kind", "given"), [(CudaArray, TorchStream), (CudaArray, CupyStream),
                         (DlpackArray, int)])  # fmt: skip
@pytest.mark.parametrize("with_out", [False, True])
@pytest.mark.parametrize("shape", [(64, 128), (2, 65, 130)])
def test_work_is_ordered_in_the_callers_stream(flow_engine, cu, shape, with_out, kind, given):
    handle = cu.foreign_stream()
    arrays = [kind(cu, (*shape, 3), stream=handle) for _ in range(2)]
    out = kind(cu, (*shape, 2), np.float32) if with_out else None
    read, kept = [], []
    runs = [images_of(shape) for _ in range(4)]
    for images in runs:
        for array, image in zip(arrays, images, strict=True):
            array.fill(image, stream=handle)
        flow = flow_engine.infer_device(*arrays, out=out, stream=given(handle))
        assert flow.__cuda_array_interface__["stream"] == handle
        cu.queues[handle].submit(lambda flow=flow: read.append(now_in(cu, flow).copy()))
        kept.append(flow)
    assert read == []
    cu.queues[handle].drain()
    for images, flow in zip(runs, read, strict=True):
        np.testing.assert_array_equal(flow, expected_flow(images))


def test_the_legacy_default_stream_is_a_stream_of_the_caller(flow_engine, cu):
    for handle in (0, 1):
        images = images_of((64, 64))
        arrays = [CudaArray(cu, (64, 64, 3)).fill(image, stream=handle) for image in images]
        flow = flow_engine.infer_device(*arrays, stream=handle)
        assert flow.__cuda_array_interface__["stream"] == 1
        cu.queues[handle].drain()
        np.testing.assert_array_equal(now_in(cu, flow), expected_flow(images))


def test_a_pycuda_stream(flow_engine, backend, cu):
    images = images_of((60, 60))
    with backend._slots._device.current():
        stream = cu.Stream(1)
        flow = flow_engine.infer_device(*on_device(cu, images), stream=stream)
        stream.synchronize()
    np.testing.assert_array_equal(now_in(cu, flow), expected_flow(images))
    del flow
    with backend._slots._device.current():
        del stream


@pytest.mark.parametrize("shape", [(64, 64), (70, 70)])
def test_without_a_stream_it_follows_the_legacy_default_stream(flow_engine, cu, shape):
    for _ in range(3):
        images = images_of(shape)
        arrays = [CudaArray(cu, (*shape, 3)).fill(image, stream=0) for image in images]
        flow = flow_engine.infer_device(*arrays)
        np.testing.assert_array_equal(now_in(cu, flow), expected_flow(images))


@pytest.mark.parametrize("kind", [CudaArray, DlpackArray])
@pytest.mark.parametrize("has_stream", [False, True])
def test_what_fills_an_array_in_its_own_stream_is_waited_for(flow_engine, cu, has_stream, kind):
    filling, busy, mine = (cu.foreign_stream() for _ in range(3))
    images = images_of((64, 100))
    arrays = [kind(cu, (64, 100, 3), stream=filling) for _ in images]
    for array, image in zip(arrays, images, strict=True):
        array.fill(image, stream=filling)
    # What somebody still reads from `out`.
    out = kind(cu, (64, 100, 2), np.float32, stream=busy).fill(np.float32(1))
    seen = []
    cu.queues[busy].submit(lambda: seen.append(out.array.copy()))
    flow_engine.infer_device(*arrays, out=out, stream=mine if has_stream else None)
    cu.queues[mine].drain()
    np.testing.assert_array_equal(out.array, expected_flow(images))
    assert (seen[0] == 1).all()


def test_a_stream_that_is_none(flow_engine, cu):
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
        np.testing.assert_array_equal(now_in(cu, flow), values)


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


@pytest.mark.skipif(not RECORDS_GRAPHS, reason="TensorRT for RTX records graphs itself")
def test_graphs_are_kept_for_the_addresses_of_one_shape(flow_engine, cu, libcuda):
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
    # One more takes the place of the one that was used least recently.
    run(0)
    assert [run(most), run(most)] == [0, 1]
    assert [run(0), run(1)] == [1, 0]
    assert len(libcuda.executables) == most - 1
    # Another shape takes the place of all.
    flow_engine.infer_device(*on_device(cu, images_of((64, 128))))
    assert libcuda.executables == {}
    assert [run(0), run(0)] == [0, 1]


def test_a_flow_outlives_the_engine(flow_engine, cu):
    images = images_of((65, 65))
    stream = cu.foreign_stream()
    flow = flow_engine.infer_device(*on_device(cu, images), stream=stream)
    capsule = flow.__dlpack__(stream=-1)
    flow_engine.close()
    np.testing.assert_array_equal(flow.numpy(), expected_flow(images))
    del flow
    assert len(cu.blocks) == 1
    del capsule
    assert (cu.blocks, cu.leaked, cu.stack) == ({}, [], [])


def test_a_flow_is_not_freed_under_a_reader(flow_engine, cu):
    images = images_of((64, 64))
    stream = cu.foreign_stream()
    flow = flow_engine.infer_device(*on_device(cu, images), stream=stream)
    read, memory = [], now_in(cu, flow)
    address = flow.__cuda_array_interface__["data"][0]
    cu.queues[stream].submit(lambda: read.append(cu.memory(address, memory.nbytes).copy()))
    del flow
    np.testing.assert_array_equal(read[0].view(np.float32), expected_flow(images).reshape(-1))
    assert cu.blocks == {}


def test_close_waits_for_what_is_on_the_gpu(flow_engine, cu):
    images = images_of((65, 65))
    stream = cu.foreign_stream()
    flow = flow_engine.infer_device(*on_device(cu, images), stream=stream)
    flow_engine.close()
    np.testing.assert_array_equal(now_in(cu, flow), expected_flow(images))
    with pytest.raises(BackendError, match="this engine is closed"):
        flow_engine.infer_device(*on_device(cu, images))


def test_arrays_elsewhere(flow_engine, cu):
    here, there = CudaArray(cu, (64, 64, 3)), CudaArray(cu, (64, 64, 3), device=1)
    with pytest.raises(InputError, match=r"image2 is on cuda:1; this engine runs on cuda:0\. Copy"):
        flow_engine.infer_device(here, there)
    away = CudaArray(cu, (64, 64, 2), np.float32, device=1)
    with pytest.raises(InputError, match=r"out is on cuda:1; this engine"):
        flow_engine.infer_device(here, here, out=away)
    nowhere = {**here.__cuda_array_interface__, "data": (4096, False)}
    host = SimpleNamespace(__cuda_array_interface__=nowhere)
    with pytest.raises(InputError, match=r"image1 is not in GPU memory; this engine runs on cuda"):
        flow_engine.infer_device(host, here)


@pytest.mark.parametrize("shape", [(129, 64), (64, 257), (5, 64, 64)])
def test_beyond_the_profile_it_says_what_infer_says(flow_engine, cu, shape):
    images = images_of(shape)
    with pytest.raises(InputError) as host:
        flow_engine.infer(*images)
    with pytest.raises(InputError) as device:
        flow_engine.infer_device(*on_device(cu, images))
    assert str(device.value) == str(host.value)


def test_a_refused_run_leaves_the_slot_usable(flow_engine, cu, contexts):
    arrays = on_device(cu, images_of((65, 65)))
    out = CudaArray(cu, (65, 65, 2), np.float32)
    stream = cu.foreign_stream()
    contexts.refused = {"execute_async_v3"}
    for order in (None, stream):
        with pytest.raises(BackendError, match="refused to run on cuda:0"):
            flow_engine.infer_device(*arrays, out=out, stream=order)
    # What reads the images already is over before the caller's next work.
    cu.queues[stream].drain()
    assert not any(queue.pending for queue in cu.queues.values())
    contexts.refused = set()
    flow = flow_engine.infer_device(*arrays)
    expected = expected_flow([array.array for array in arrays])
    np.testing.assert_array_equal(now_in(cu, flow), expected)


def test_out_of_device_memory(flow_engine, cu):
    arrays = on_device(cu, images_of((128, 256)))
    cu.capacity = 1000
    with pytest.raises(BackendError, match=r"NVIDIA L4.*cuMemAlloc failed: out of memory"):
        flow_engine.infer_device(*arrays)
    out = CudaArray(cu, (128, 256, 2), np.float32)
    flow_engine.infer_device(*arrays, out=out)
    np.testing.assert_array_equal(out.array, expected_flow([array.array for array in arrays]))


def test_device_ms_is_that_of_the_last_run_from_the_host(flow_engine, backend, cu):
    flow = flow_engine.infer_device(*on_device(cu, images_of((64, 64))))
    assert backend.device_ms() is None
    check_run(backend, (1, 64, 64))
    flow = flow_engine.infer_device(*on_device(cu, images_of((2, 100, 130))))
    del flow
    gc.collect()
    assert backend.device_ms() == 1.0


def test_host_and_device_runs_do_not_disturb_each_other(flow_engine, cu):
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
        np.testing.assert_array_equal(now_in(cu, flow), values)


def test_pairs_of_two_streams_go_through_two_lanes(backend, contexts):
    flow_engine = FlowEngine(manifest_with(PLAN), backend, streams=2)
    pairs = [pair(1, 64, 64 * (1 + seed % 4), seed=seed) for seed in range(12)]
    futures = [flow_engine.infer_async(*images) for images in pairs]
    for images, future in zip(pairs, futures, strict=True):
        np.testing.assert_array_equal(future.result(30), expected_flow(images))
    assert len(contexts.made) <= 2
