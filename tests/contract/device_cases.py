"""Images and flow on the device: padding, layouts, ``out`` and errors; run by test_tensorrt.py.

``TENSORRT_PACKAGE`` names the package whose bindings are tested.
"""

import gc
from types import SimpleNamespace

import numpy as np
import pytest

from engine.errors import BackendError, InputError
from engine.images import network_input, padded_size
from tests.contract.foreign_arrays import (
    CudaArray,
    DlpackArray,
    content_of,
    images_of,
    on_device,
)
from tests.contract.tensorrt_double import check_run, expected_flow

# The profile allows 64x64 to 128x256 and batches of 1 to 4; the divisor is 64.
ALIGNED = [(64, 64), (128, 192), (1, 64, 64), (3, 128, 256)]
ODD = [(1, 1), (63, 64), (64, 63), (65, 100), (127, 255), (96, 96), (1, 64), (2, 1, 1),
       (4, 65, 129), (2, 64, 63), (2, 63, 64), (1, 33, 200)]  # fmt: skip


@pytest.mark.parametrize("shape", ALIGNED)
@pytest.mark.parametrize("kind", [CudaArray, DlpackArray])
def test_images_are_read_and_the_flow_is_written_in_place(flow_engine, cu, contexts, kind, shape):
    for _ in range(3):
        images = images_of(shape)
        flow = flow_engine.infer_device(*on_device(cu, images, kind))
        np.testing.assert_array_equal(content_of(cu, flow), expected_flow(images))
        assert flow.shape == (*shape, 2)
        assert flow.__cuda_array_interface__["strides"] is None
        assert flow.__cuda_array_interface__["stream"] is None
        assert list(cu.blocks) == [flow.__cuda_array_interface__["data"][0]]
    assert cu.copies == 0
    assert len(contexts.made) == 1


@pytest.mark.parametrize("layout", [{}, {"gap": 7}, {"offset": 3}])
@pytest.mark.parametrize("shape", ODD)
def test_images_are_padded_as_on_the_host(flow_engine, cu, contexts, shape, layout):
    images = images_of(shape)
    flow = flow_engine.infer_device(*on_device(cu, images, **layout))
    np.testing.assert_array_equal(content_of(cu, flow), expected_flow(images))
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
    np.testing.assert_array_equal(content_of(cu, flow), expected_flow(images))
    assert cu.copies == 2 * (shape[0] if len(shape) == 3 else 1)


def test_images_of_one_pair_may_differ_in_layout(flow_engine, cu):
    first, second = images = images_of((2, 64, 128))
    arrays = on_device(cu, [first], gap=5) + on_device(cu, [second])
    flow = flow_engine.infer_device(*arrays)
    np.testing.assert_array_equal(content_of(cu, flow), expected_flow(images))


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


def test_arrays_on_another_device_or_the_host(flow_engine, cu):
    here, there = CudaArray(cu, (64, 64, 3)), CudaArray(cu, (64, 64, 3), device=1)
    with pytest.raises(InputError, match=r"image2 is on cuda:1; this engine runs on cuda:0\. Copy"):
        flow_engine.infer_device(here, there)
    out = CudaArray(cu, (64, 64, 2), np.float32, device=1)
    with pytest.raises(InputError, match=r"out is on cuda:1; this engine"):
        flow_engine.infer_device(here, here, out=out)
    on_host = {**here.__cuda_array_interface__, "data": (4096, False)}
    host = SimpleNamespace(__cuda_array_interface__=on_host)
    with pytest.raises(InputError, match=r"image1 is not in GPU memory; this engine runs on cuda"):
        flow_engine.infer_device(host, here)


@pytest.mark.parametrize("shape", [(129, 64), (64, 257), (5, 64, 64)])
def test_the_error_outside_the_profile_is_that_of_infer(flow_engine, cu, shape):
    images = images_of(shape)
    with pytest.raises(InputError) as host:
        flow_engine.infer(*images)
    with pytest.raises(InputError) as device:
        flow_engine.infer_device(*on_device(cu, images))
    assert str(device.value) == str(host.value)


def test_a_slot_is_usable_after_a_failed_run(flow_engine, cu, contexts):
    arrays = on_device(cu, images_of((65, 65)))
    out = CudaArray(cu, (65, 65, 2), np.float32)
    stream = cu.foreign_stream()
    contexts.refused = {"execute_async_v3"}
    for order in (None, stream):
        with pytest.raises(BackendError, match="refused to run on cuda:0"):
            flow_engine.infer_device(*arrays, out=out, stream=order)
    # Work that already reads the images ends before the caller's next work.
    cu.queues[stream].drain()
    assert not any(queue.pending for queue in cu.queues.values())
    contexts.refused = set()
    flow = flow_engine.infer_device(*arrays)
    expected = expected_flow([array.array for array in arrays])
    np.testing.assert_array_equal(content_of(cu, flow), expected)


def test_out_of_device_memory(flow_engine, cu):
    arrays = on_device(cu, images_of((128, 256)))
    cu.capacity = 1000
    with pytest.raises(BackendError, match=r"NVIDIA L4.*cuMemAlloc failed: out of memory"):
        flow_engine.infer_device(*arrays)
    out = CudaArray(cu, (128, 256, 2), np.float32)
    flow_engine.infer_device(*arrays, out=out)
    np.testing.assert_array_equal(out.array, expected_flow([array.array for array in arrays]))


def test_device_ms_is_of_the_last_run_from_the_host(flow_engine, backend, cu):
    flow = flow_engine.infer_device(*on_device(cu, images_of((64, 64))))
    assert backend.device_ms() is None
    check_run(backend, (1, 64, 64))
    flow = flow_engine.infer_device(*on_device(cu, images_of((2, 100, 130))))
    del flow
    gc.collect()
    assert backend.device_ms() == 1.0
