"""Padding on the device, compared with padding on the host."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.cuda.device import Device
from engine.cuda.foreign_arrays import image_view
from engine.cuda.padding import pad
from engine.images import network_input
from tests.contract.fake_pycuda import FakeDriver
from tests.contract.foreign_arrays import CudaArray
from tests.contract.tensorrt_double import install_driver


@settings(deadline=None)
@given(
    size=st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40)),
    more=st.tuples(st.integers(0, 63), st.integers(0, 63)),
    gap=st.integers(0, 9),
    has_batch=st.booleans(),
)
def test_padding_equals_that_of_the_host(size, more, gap, has_batch):
    count, height, width = size if has_batch else (1, *size[1:])
    padded = (height + more[0], width + more[1])
    with pytest.MonkeyPatch.context() as patch:
        cu = install_driver(patch, FakeDriver(("NVIDIA L4", (8, 9))))
        gpu = Device(0)
        shape = (count, height, width, 3) if has_batch else (height, width, 3)
        values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        image = image_view(CudaArray(cu, shape, gap=gap).fill(values), "image", None)
        nbytes = count * padded[0] * padded[1] * 3
        target = cu.memories.add(nbytes, 0)
        with gpu.current():
            stream = gpu.stream()
            pad(gpu, stream, image, target, padded)
            stream.synchronize()
            del stream
    expected = network_input(values, padded)
    np.testing.assert_array_equal(cu.memory(target, nbytes).reshape(expected.shape), expected)
    assert cu.copies <= count + 12
