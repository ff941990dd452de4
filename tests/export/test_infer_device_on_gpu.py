"""Images and flow that stay on the device, with a plan built for whatever GPU is there."""

import numpy as np
import pytest


class OnDevice:
    """A copy of an array on the GPU, its rows ``gap`` bytes apart."""

    def __init__(self, gpu, values, gap=0):
        rows = values.reshape(-1, values.shape[-2] * values.shape[-1]).view(np.uint8)
        self.pitch = rows.shape[1] + gap
        self.host = np.zeros((len(rows), self.pitch), np.uint8)
        self.host[:, : rows.shape[1]] = rows
        self.gpu, self.values = gpu, values
        with gpu.current():
            self.block = gpu.driver.mem_alloc(self.host.nbytes)
            gpu.driver.memcpy_htod(self.block, self.host)

    @property
    def __cuda_array_interface__(self):
        shape = self.values.shape
        last = (self.values.itemsize * shape[-1], self.values.itemsize)
        strides = (*(shape[-3] * self.pitch for _ in shape[3:]), self.pitch, *last)
        return {
            "version": 3,
            "shape": shape,
            "strides": strides,
            "typestr": self.values.dtype.str,
            "data": (int(self.block), False),
            "stream": None,
        }

    def numpy(self):
        with self.gpu.current():
            self.gpu.driver.memcpy_dtoh(self.host, self.block)
        row = self.values.itemsize * self.values.shape[-2] * self.values.shape[-1]
        return self.host[:, :row].copy().view(self.values.dtype).reshape(self.values.shape)

    def free(self):
        with self.gpu.current():
            del self.block


@pytest.mark.gpu
@pytest.mark.parametrize("gap", [0, 5])
@pytest.mark.parametrize("shape", [(128, 192, 3), (70, 130, 3), (2, 65, 64, 3), (1, 1, 3)])
def test_the_flow_of_device_arrays(plan_engine, gpu, tiny_flow, rng, shape, gap):
    out = OnDevice(gpu, np.zeros((*shape[:-1], 2), np.float32))
    # As often as it takes until a CUDA graph has been recorded and launched.
    for _ in range(4):
        images = rng.integers(0, 256, (2, *shape), dtype=np.uint8)
        expected = tiny_flow(*images)
        arrays = [OnDevice(gpu, image, gap) for image in images]
        flow = plan_engine.infer_device(*arrays)
        np.testing.assert_allclose(flow.numpy(), expected, atol=1e-4)
        plan_engine.infer_device(*arrays, out=out)
        np.testing.assert_allclose(out.numpy(), expected, atol=1e-4)
        with gpu.current():
            stream = gpu.stream()
            ordered = plan_engine.infer_device(*arrays, out=out, stream=stream)
            stream.synchronize()
        np.testing.assert_allclose(ordered.numpy(), expected, atol=1e-4)
        del ordered
        with gpu.current():
            del stream
        for array in arrays:
            array.free()
    out.free()


@pytest.mark.gpu
def test_futures(plan_engine, tiny_flow, rng):
    pairs = rng.integers(0, 256, (12, 2, 70, 130, 3), dtype=np.uint8)
    futures = [plan_engine.infer_async(*pair) for pair in pairs]
    for pair, future in zip(pairs, futures, strict=True):
        np.testing.assert_allclose(future.result(60), tiny_flow(*pair), atol=1e-4)
