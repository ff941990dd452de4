"""An execution context of TensorRT with its stream, buffers and CUDA graphs."""

import math
from functools import partial
from typing import Any

import numpy as np

from engine.backends.base import INPUTS, OUTPUT, Flows, Images
from engine.backends.tensorrt.package import TensorRT, message_log
from engine.backends.tensorrt.runtime_cache import RuntimeCache
from engine.cuda.buffers import Buffer
from engine.cuda.device import Device
from engine.cuda.flow_array import DeviceArray
from engine.cuda.foreign_arrays import LEGACY_DEFAULT_STREAM, CallerStream, DeviceView, c_strides
from engine.cuda.graphs import Addresses, GraphCache
from engine.cuda.libcuda import device_of, join
from engine.cuda.padding import crop, pad
from engine.errors import BackendError, InputError

# Required of tensor addresses: NvInferRuntime.h, IExecutionContext::setTensorAddress.
ALIGNMENT = 256

Shape = tuple[int, ...]


class ExecutionSlot:
    """An execution context with its stream, buffers and CUDA graphs, for one caller at a time.

    All its work is in its own stream. Create, use and close it inside `Device.current`.
    """

    def __init__(
        self, gpu: Device, runtime: TensorRT, engine: Any, cache: RuntimeCache | None
    ) -> None:
        """Create an execution context.

        Args:
            gpu: the GPU.
            runtime: the TensorRT package.
            engine: the ``ICudaEngine``.
            cache: the runtime cache of TensorRT for RTX, which also captures CUDA graphs itself;
                None for TensorRT.

        Raises:
            BackendError: TensorRT failed, for instance for lack of device memory.
        """
        self._gpu = gpu
        self._messages = message_log(runtime.module)
        self._messages.take()
        arguments = {}
        if cache is not None:
            config = engine.create_runtime_config()
            config.cuda_graph_strategy = runtime.module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            cache.attach(config)
            arguments["runtime_config"] = config
        self._context = engine.create_execution_context(**arguments)
        self._expect(self._context, "an execution context (too little device memory?)")
        self._stream = gpu.stream()
        self._images = [Buffer(gpu, self._stream, np.uint8) for _ in INPUTS]
        self._flow = Buffer(gpu, self._stream, np.float32)
        self._shape: Shape | None = None
        self._last_run: Shape | None = None
        capture = partial(gpu.capture, self._stream) if cache is None else None
        # Of the current shape; by the addresses of the inputs and the output.
        self._graphs = GraphCache(self._bind, self._enqueue, capture)

    def run(self, image1: Images, image2: Images) -> Flows:
        """Return the flow of two arrays on the host; see `Backend.run`."""
        self._set_shape(image1.shape)
        addresses = self._own_addresses(image1.shape)
        for buffer, image in zip(self._images, (image1, image2), strict=True):
            np.copyto(buffer.host, image)
            buffer.upload()
        self._graphs.run(addresses)
        self._flow.download()
        self._stream.synchronize()
        self._last_run = image1.shape
        flow: Flows = self._flow.host.copy()
        return flow

    def run_device(
        self,
        images: tuple[DeviceView, DeviceView],
        size: tuple[int, int],
        out: DeviceView | None,
        stream: CallerStream | None,
    ) -> DeviceArray:
        """Return the flow of two arrays on the device; see `DeviceBackend.run_device`."""
        views = [*images, *([] if out is None else [out])]
        for view in views:
            self._check_device(view)
        count = images[0].shape[0] if len(images[0].shape) == 4 else 1
        self._set_shape((count, *size, 3))
        flow, target = self._output(images[0].shape, (count, *size, 2), out, stream)
        before = {LEGACY_DEFAULT_STREAM if stream is None else stream.handle}
        for handle in before | {view.stream for view in views if view.stream is not None}:
            join(handle, self._stream.handle)
        try:
            first, second = map(self._network_input, images, self._images)
            self._graphs.run((first, second, target))
            if out is not None and target != out.address:
                crop(self._gpu, self._stream, target, size, out)
        finally:
            if stream is None:
                self._stream.synchronize()
            else:
                join(self._stream.handle, stream.handle)
        return flow

    def device_ms(self) -> float | None:
        """Return the GPU time, in milliseconds, of one more `run`; None before any."""
        if self._last_run is None:
            return None
        self._set_shape(self._last_run)
        addresses = self._own_addresses(self._last_run)
        # A launch before the measured one keeps the GPU busy, so that the time does not include
        # the CPU time between the first event and the launch.
        self._graphs.run(addresses)
        return self._gpu.elapsed_ms(self._stream, lambda: self._graphs.run(addresses))

    def close(self) -> None:
        """Wait for the work in progress, then free everything."""
        try:
            self._stream.synchronize()
        finally:
            # Free the memory now: the traceback of an exception may still refer to this slot.
            self._graphs.close()
            for buffer in (*self._images, self._flow):
                buffer.close()
            self.__dict__.clear()

    def _check_device(self, view: DeviceView) -> None:
        index = device_of(view.address)
        if index != self._gpu.index:
            where = "is not in GPU memory" if index is None else f"is on cuda:{index}"
            raise InputError(
                f"{view.name} {where}; this engine runs on cuda:{self._gpu.index}. Copy it there, "
                "or load the bundle on that device."
            )

    def _own_addresses(self, shape: Shape) -> Addresses:
        """Return the addresses of the slot's buffers for images of ``shape`` and their flow."""
        for buffer in self._images:
            buffer.reserve(shape)
        self._flow.reserve((*shape[:3], 2))
        return self._images[0].address, self._images[1].address, self._flow.address

    def _network_input(self, image: DeviceView, buffer: Buffer) -> int:
        """Return the address of the image, or of a padded copy if the network cannot read it."""
        assert self._shape is not None
        size = (self._shape[1], self._shape[2])
        if image.is_contiguous and image.shape[-3:-1] == size and image.address % ALIGNMENT == 0:
            return image.address
        buffer.reserve(self._shape)
        pad(self._gpu, self._stream, image, buffer.address, size)
        return buffer.address

    def _output(
        self, image: Shape, padded: Shape, out: DeviceView | None, stream: CallerStream | None
    ) -> tuple[DeviceArray, int]:
        """Return the caller's array, and the address that the network writes to."""
        shape = (*image[:-1], 2)
        itemsize = DeviceArray.dtype.itemsize
        if out is None:
            allocation = self._gpu.driver.mem_alloc(math.prod(padded) * itemsize)
            address = int(allocation)
            strides = c_strides(padded, itemsize)[-len(shape) :]
            flow = DeviceArray(
                self._gpu, address, shape, strides, allocation=allocation, stream=stream
            )
            return flow, address
        flow = DeviceArray(
            self._gpu, out.address, shape, out.strides, owner=out.owner, stream=stream
        )
        if shape[-3:] == padded[-3:] and out.address % ALIGNMENT == 0:
            return flow, out.address
        self._flow.reserve(padded)
        return flow, self._flow.address

    def _set_shape(self, shape: Shape) -> None:
        if shape == self._shape:
            return
        # The execution context stores state of the current shape: wait for the queued work, and
        # drop the graphs, which cannot be launched after the change.
        # https://docs.nvidia.com/deeplearning/tensorrt/latest/performance/best-practices.html
        self._stream.synchronize()
        self._graphs.clear()
        self._shape = None
        for name in INPUTS:
            self._expect(self._context.set_input_shape(name, shape), f"{name} of shape {shape}")
        flow = tuple(self._context.get_tensor_shape(OUTPUT))
        if flow != (*shape[:3], 2):  # the buffer has this size
            raise BackendError(
                f"the plan returns a flow of {flow} for images of {shape}; expected "
                f"{(*shape[:3], 2)}. Rebuild the bundle."
            )
        self._shape = shape

    def _bind(self, addresses: Addresses) -> None:
        for name, address in zip((*INPUTS, OUTPUT), addresses, strict=True):
            self._expect(self._context.set_tensor_address(name, address), f"a {name} buffer")

    def _enqueue(self) -> None:
        self._expect(self._context.execute_async_v3(self._stream.handle), "to run")

    def _expect(self, accepted: object, what: str) -> None:
        if not accepted:
            raise BackendError(f"TensorRT refused {what} on {self._gpu}: {self._messages.take()}")
