"""The flow array on a fake GPU."""

import gc
import threading

import numpy as np
import pytest

from engine.cuda import dlpack
from engine.cuda.device import Device
from engine.cuda.flow_array import DeviceArray
from engine.cuda.foreign_arrays import CallerStream, c_strides
from engine.errors import BackendError


@pytest.fixture
def gpu(cu):
    return Device(1)


def make(gpu, values, *, padded=None, stream=None, ready=True):
    """A DeviceArray with these values, in the corner of a larger array."""
    padded = padded or values.shape
    with gpu.current():
        allocation = gpu.driver.mem_alloc(4 * int(np.prod(padded)))
    memory = gpu.driver.memory(int(allocation), 4 * int(np.prod(padded)))
    corner = memory.view(np.float32).reshape(padded)[tuple(slice(n) for n in values.shape)]

    def fill():
        corner[:] = values

    if ready:
        fill()
    else:
        gpu.driver.queues[stream.handle].submit(fill)
    return DeviceArray(
        gpu, int(allocation), values.shape, corner.strides, allocation=allocation, stream=stream
    )


@pytest.fixture
def values(rng):
    return rng.random((2, 5, 7, 2), dtype=np.float32)


def test_attributes(gpu, values):
    flow = make(gpu, values)
    assert (flow.shape, flow.dtype, flow.device) == ((2, 5, 7, 2), np.float32, "cuda:1")
    assert flow.strides == values.strides == c_strides(flow.shape, 4)
    assert repr(flow) == "<DeviceArray (2, 5, 7, 2) float32 on cuda:1>"
    assert flow.__dlpack_device__() == (2, 1)


@pytest.mark.parametrize("padded", [None, (2, 8, 8, 2)])
def test_numpy_is_a_copy(gpu, values, padded):
    flow = make(gpu, values, padded=padded)
    copy = flow.numpy()
    np.testing.assert_array_equal(copy, values)
    assert copy.flags.c_contiguous
    copy[:] = 0
    np.testing.assert_array_equal(flow.numpy(), values)


def test_numpy_waits_for_the_flow(gpu, cu, values):
    stream = CallerStream(cu.foreign_stream(), None)
    flow = make(gpu, values, stream=stream, ready=False)
    np.testing.assert_array_equal(flow.numpy(), values)


@pytest.mark.parametrize("padded", [None, (2, 8, 8, 2)])
@pytest.mark.parametrize(("handle", "expected"), [(None, None), (0, 1), (1, 1), (2, 2), (99, 99)])
def test_cuda_array_interface(gpu, values, padded, handle, expected):
    stream = None if handle is None else CallerStream(handle, None)
    flow = make(gpu, values, padded=padded, stream=stream)
    interface = flow.__cuda_array_interface__
    address, read_only = interface["data"]
    assert not read_only
    assert interface["version"] == 3
    assert interface["stream"] == expected
    assert (interface["strides"] is None) == (padded is None)
    # The fake device memory is host memory, and numpy's interface has the same keys.
    host = {key: interface[key] for key in ("version", "shape", "strides", "typestr", "data")}
    holder = type("Holder", (), {"__array_interface__": host})()
    np.testing.assert_array_equal(np.asarray(holder), values)
    assert address == flow._address


def test_dlpack_makes_the_stream_of_the_consumer_wait(gpu, cu, values):
    stream = CallerStream(cu.foreign_stream(), None)
    consumer = cu.foreign_stream()
    for given, queue in ((None, 0), (1, 1), (consumer, consumer)):
        flow = make(gpu, values, stream=stream, ready=False)
        read = dlpack.read_capsule(flow.__dlpack__(stream=given))
        assert (read.shape, read.strides, read.dtype) == (flow.shape, flow.strides, np.float32)
        cu.queues[queue].drain()
        memory = cu.memory(read.address, values.nbytes)
        np.testing.assert_array_equal(memory.view(np.float32), values.reshape(-1))


def test_dlpack_without_synchronisation(gpu, cu, values):
    stream = CallerStream(cu.foreign_stream(), None)
    flow = make(gpu, values, stream=stream, ready=False)
    flow.__dlpack__(stream=-1)
    assert not cu.queues[0].pending


def test_dlpack_refuses_copies(gpu, values):
    flow = make(gpu, values)
    flow.__dlpack__(max_version=(1, 1), dl_device=(2, 1), copy=False)
    for request in ({"copy": True}, {"dl_device": (dlpack.CPU, 0)}, {"dl_device": (2, 0)}):
        with pytest.raises(BufferError, match=r"on cuda:1> is not copied; use numpy\(\)"):
            flow.__dlpack__(**request)


def test_the_last_user_frees_the_memory_in_any_thread(gpu, cu, values):
    flow = make(gpu, values)
    capsules = [flow.__dlpack__() for _ in range(2)]
    del flow
    for _ in range(2):
        assert len(cu.blocks) == 1
        dropping = threading.Thread(target=capsules.pop)
        dropping.start()
        dropping.join()
    gc.collect()
    assert (cu.blocks, cu.leaked, cu.stack) == ({}, [], [])


def test_memory_of_an_owner_is_not_freed(gpu, cu, values):
    class Owner:
        alive = True

        def __del__(self):
            Owner.alive = False

    address = cu.memories.add(values.nbytes, 1)
    cu.memory(address, values.nbytes)[:] = values.reshape(-1).view(np.uint8)
    flow = DeviceArray(gpu, address, values.shape, values.strides, owner=Owner())
    capsule = flow.__dlpack__()
    del flow
    gc.collect()
    assert Owner.alive
    del capsule
    gc.collect()
    assert not Owner.alive
    assert cu.memories.device_of(address) == 1


def test_the_gpu_fails(gpu, cu, values, monkeypatch):
    flow = make(gpu, values)

    def fail():
        raise cu.Error("cuCtxSynchronize failed: an illegal memory access was encountered")

    with monkeypatch.context() as patch:
        patch.setattr(cu.Context, "synchronize", fail)
        with pytest.raises(BackendError, match=r"cuda:1 .NVIDIA A2.*an illegal memory access"):
            flow.numpy()
