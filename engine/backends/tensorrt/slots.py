"""What one caller of the TensorRT backend at a time uses: an execution context with its stream."""

import logging
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.backends.tensorrt.package import TensorRT, message_log
from engine.backends.tensorrt.runtime_cache import RuntimeCache
from engine.cuda.device import Buffer, Device
from engine.cuda.flow_array import DeviceArray
from engine.cuda.foreign_arrays import LEGACY_DEFAULT_STREAM, CallerStream, DeviceView, c_strides
from engine.cuda.libcuda import Graph, device_of, join
from engine.cuda.padding import crop, pad
from engine.errors import BackendError, InputError

INPUTS = ("image1", "image2")
OUTPUT = "flow"
# Of a tensor's address: NvInferRuntime.h, IExecutionContext::setTensorAddress.
ALIGNMENT = 256
MAX_GRAPHS = 8

_log = logging.getLogger(__name__)

Shape = tuple[int, ...]
Addresses = tuple[int, int, int]  # of INPUTS and OUTPUT


class Lane:
    """An execution context with its stream, buffers and CUDA graphs.

    All its work is in its own stream, one run after the other, whoever asks for it. Created, used
    and closed inside `Device.current`.
    """

    def __init__(
        self, gpu: Device, runtime: TensorRT, engine: Any, cache: RuntimeCache | None
    ) -> None:
        """Make an execution context; TensorRT for RTX brings a ``cache`` and records its graphs.

        Raises:
            BackendError: TensorRT refuses, for instance for lack of device memory.
        """
        self._gpu = gpu
        self._messages = message_log(runtime.module)
        self._messages.take()
        arguments = {}
        self._records_graphs = cache is None
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
        # Of the current shape, the last used last; None: run once, recorded the second time.
        self._graphs: dict[Addresses, Graph | None] = {}
        self._last_run: Shape | None = None

    def run(self, image1: NDArray[np.uint8], image2: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the flow of two arrays on the host; see `Backend.run`."""
        self._set_shape(image1.shape)
        addresses = self._own_addresses(image1.shape)
        for buffer, image in zip(self._images, (image1, image2), strict=True):
            np.copyto(buffer.host, image)
            buffer.upload()
        self._launch(addresses)
        self._flow.download()
        self._stream.synchronize()
        self._last_run = image1.shape
        flow: NDArray[np.float32] = self._flow.host.copy()
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
        flow, target = self._place_for_flow(images[0].shape, (count, *size, 2), out, stream)
        before = {LEGACY_DEFAULT_STREAM if stream is None else stream.handle}
        for handle in before | {view.stream for view in views if view.stream is not None}:
            join(handle, self._stream.handle)
        try:
            first, second = map(self._network_input, images, self._images)
            self._launch((first, second, target))
            if out is not None and target != out.address:
                crop(self._gpu, self._stream, target, size, out)
        finally:
            if stream is None:
                self._stream.synchronize()
            else:
                join(self._stream.handle, stream.handle)
        return flow

    def device_ms(self) -> float | None:
        """Return the GPU's milliseconds for the size of the last `run` once more, None before."""
        if self._last_run is None:
            return None
        self._set_shape(self._last_run)
        addresses = self._own_addresses(self._last_run)
        # One launch ahead keeps the GPU busy while the measured one is queued: the time between the
        # first event and the launch is the CPU's, not the network's.
        self._launch(addresses)
        return self._gpu.elapsed_ms(self._stream, lambda: self._launch(addresses))

    def close(self) -> None:
        """Wait for what is still running, then free everything."""
        try:
            self._stream.synchronize()
        finally:
            # Not with the last reference to them, which may be in a traceback that somebody keeps.
            for buffer in (*self._images, self._flow):
                buffer.close()
            self.__dict__.clear()

    def _check_device(self, view: DeviceView) -> None:
        index = device_of(view.address)
        if index != self._gpu.index:
            where = "is in no GPU's memory" if index is None else f"is on cuda:{index}"
            raise InputError(
                f"{view.name} {where}; this engine runs on cuda:{self._gpu.index}. Copy it there, "
                "or load the bundle with the other device."
            )

    def _own_addresses(self, shape: Shape) -> Addresses:
        """Return the buffers' addresses, with room for images of ``shape`` and their flow."""
        for buffer in self._images:
            buffer.reserve(shape)
        self._flow.reserve((*shape[:3], 2))
        return self._images[0].address, self._images[1].address, self._flow.address

    def _network_input(self, image: DeviceView, buffer: Buffer) -> int:
        """Return the address of what the network reads: the image itself, or a padded copy."""
        assert self._shape is not None
        size = (self._shape[1], self._shape[2])
        if image.is_contiguous and image.shape[-3:-1] == size and image.address % ALIGNMENT == 0:
            return image.address
        buffer.reserve(self._shape)
        pad(self._gpu, self._stream, image, buffer.address, size)
        return buffer.address

    def _place_for_flow(
        self, image: Shape, padded: Shape, out: DeviceView | None, stream: CallerStream | None
    ) -> tuple[DeviceArray, int]:
        """Return what the caller gets, and the address that the network writes to."""
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
        # What depends on the shape is kept in the execution context: what is queued has to be done
        # with it, and a graph cannot be launched after it has changed.
        # https://docs.nvidia.com/deeplearning/tensorrt/latest/performance/best-practices.html
        self._stream.synchronize()
        self._graphs.clear()
        self._shape = None
        for name in INPUTS:
            self._expect(self._context.set_input_shape(name, shape), f"{name} of shape {shape}")
        self._shape = shape

    def _launch(self, addresses: Addresses) -> None:
        # The second run is recorded: the first one of a shape lets TensorRT set itself up, and
        # addresses that never come again are not worth it.
        is_second = addresses in self._graphs
        graph = self._graphs.pop(addresses, None)
        if graph is None:
            self._bind(addresses)
            if is_second and self._records_graphs:
                graph = self._recorded()
        if graph is None:
            self._enqueue()
        else:
            graph.launch()
        self._graphs[addresses] = graph
        if len(self._graphs) > MAX_GRAPHS:
            del self._graphs[next(iter(self._graphs))]

    def _recorded(self) -> Graph | None:
        try:
            return self._gpu.record(self._stream, self._enqueue)
        except BackendError as error:
            self._records_graphs = False
            _log.warning("no CUDA graph, kernels are launched one by one: %s", str(error))
            return None

    def _bind(self, addresses: Addresses) -> None:
        for name, address in zip((*INPUTS, OUTPUT), addresses, strict=True):
            self._expect(self._context.set_tensor_address(name, address), f"a {name} buffer")

    def _enqueue(self) -> None:
        self._expect(self._context.execute_async_v3(self._stream.handle), "to run")

    def _expect(self, accepted: object, what: str) -> None:
        if not accepted:
            raise BackendError(f"TensorRT refused {what} on {self._gpu}: {self._messages.take()}")
