"""TensorRT: runs a plan on an NVIDIA GPU.

One file for both packages, which share their Python API: ``tensorrt`` 10.9 to 11 (data centre,
Jetson; reads ``model.plan``) and ``tensorrt_rtx`` 1.7 (RTX cards; reads ``model.rtx``). They differ
here in CUDA graphs alone: TensorRT for RTX records them itself, once its kernels for a shape are
compiled, while for ``tensorrt`` this file records them.

A plan is opened once and shared. Every caller that runs at the same time has a lane of its own: an
execution context, a stream and buffers.
"""

import logging
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.backends.cuda import Buffer, Device, Graph, Pool
from engine.backends.tensorrt_package import (
    PLAN_FILES,
    PLUGIN_LIBRARY,
    TensorRT,
    load_plugins,
    load_tensorrt,
    message_log,
)
from engine.errors import BackendError, HardwareMissingError, PlanMismatchError
from engine.manifest import Manifest, SizeProfile, rebuild_command

INPUTS = ("image1", "image2")
OUTPUT = "flow"
# Each lane holds TensorRT's scratch memory for the profile's largest size.
MAX_LANES = 4

_log = logging.getLogger(__name__)


class TensorRTBackend:
    """Runs ``model.plan`` or ``model.rtx`` of a bundle; safe to share between threads.

    Attributes:
        name: ``"tensorrt"``.
        device: for instance ``"cuda:0"``.
        runtime_version: package and version, for instance ``"tensorrt 11.4.0.106"``.
        profile: the sizes that the plan was built for.
    """

    name = "tensorrt"

    def __init__(
        self,
        bundle: Path,
        manifest: Manifest,
        *,
        device: int,
        threads: int | None,
        streams: int,
    ) -> None:
        """Open the plan on GPU ``device``; ``threads`` (of the CPU) does not matter here.

        Neither does ``streams``: callers get a lane each as they come, up to ``MAX_LANES``, and
        more of them wait.

        Raises:
            BackendNotInstalledError: TensorRT or PyCUDA is missing.
            HardwareMissingError: there is no such GPU, no driver for it, or it is one that TensorRT
                for RTX leaves out.
            BackendError: the bundle has no plan, or one of another graph.
            PlanMismatchError: the plan is for another TensorRT or another GPU.
        """
        wanted = [name for name, file in PLAN_FILES.items() if file in manifest.files]
        if not wanted:
            raise BackendError(
                f"{bundle} has no TensorRT plan; expected {' or '.join(PLAN_FILES.values())}. "
                f"Build one: {rebuild_command(bundle, manifest, target=self.name)}"
            )
        runtime = load_tensorrt(wanted)
        gpu = Device(device)
        with gpu.current():
            engine = _open_plan(runtime, gpu, bundle, manifest)
            profile_shapes = engine.get_tensor_profile_shape(INPUTS[0], 0)
        self.device = f"cuda:{device}"
        self.runtime_version = runtime.tool
        self.profile: SizeProfile | None = SizeProfile(
            *[_batch_height_width(shape) for shape in profile_shapes]
        )
        self._lanes = Pool(gpu, lambda: _Lane(gpu, runtime, engine), limit=MAX_LANES)
        # Also at exit and on collection: device memory has to go while CUDA is there.
        self._finalizer = weakref.finalize(self, self._lanes.close)

    def prepare(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the image."""
        return image

    def run(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the flow (N, H, W, 2) float32 in pixels from two (N, H, W, 3) uint8 RGB arrays.

        Raises BackendError for a size outside `profile`, after `close`, and when the GPU fails.
        """
        with self._lanes.borrow() as lane:
            return lane.run(first, second)

    def device_ms(self) -> float | None:
        """Return the GPU's milliseconds for the last images once more; None before any run.

        The images are on the device by then: copies do not count.
        """
        with self._lanes.borrow() as lane:
            return lane.device_ms()

    def close(self) -> None:
        """Wait for the callers inside `run`, then free all device memory; again is harmless."""
        self._finalizer()


def _batch_height_width(shape: Iterable[int]) -> tuple[int, int, int]:
    batch, height, width, _ = shape
    return batch, height, width


def _open_plan(runtime: TensorRT, gpu: Device, bundle: Path, manifest: Manifest) -> Any:
    messages = message_log(runtime.module)
    messages.take()
    rebuild = rebuild_command(bundle, manifest, target="tensorrt")
    try:
        deserializer = runtime.module.Runtime(messages)
    except TypeError as error:  # the factory's null pointer, as pybind11 reports it
        raise HardwareMissingError(
            f"{runtime.tool} does not start on {gpu}: {messages.take()}. "
            "Check that the NVIDIA driver is recent enough for it"
        ) from error
    if PLUGIN_LIBRARY in manifest.files:
        sha256 = manifest.files[PLUGIN_LIBRARY].sha256
        load_plugins(runtime, bundle / PLUGIN_LIBRARY, sha256)
    engine = deserializer.deserialize_cuda_engine((bundle / runtime.plan_file).read_bytes())
    if engine is None and _leaves_out(runtime, gpu):
        raise HardwareMissingError(
            f"{runtime.plan_file} needs a GPU that TensorRT for RTX makes portable plans for; "
            f"{runtime.tool} does not open it on {gpu}: {messages.take()}. Use the tensorrt package"
        )
    if engine is None:
        built = manifest.files[runtime.plan_file]
        raise PlanMismatchError(
            f"{runtime.plan_file} was built by {built.tool} for compute capability "
            f"{built.compute_capability or 'any (portable)'} and does not open with {runtime.tool} "
            f"on {gpu}: {messages.take()}. Rebuild it here: {rebuild}"
        )
    names = {engine.get_tensor_name(index) for index in range(engine.num_io_tensors)}
    if names != {*INPUTS, OUTPUT}:
        raise BackendError(
            f"{runtime.plan_file} has the tensors {sorted(names)}; expected "
            f"{sorted({*INPUTS, OUTPUT})}. Rebuild it: {rebuild}"
        )
    return engine


def _leaves_out(runtime: TensorRT, gpu: Device) -> bool:
    """Whether a portable plan cannot be for this GPU: a data-centre one, or Turing.

    https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/inference-library/cpu-engines.html
    """
    if runtime.name != "tensorrt_rtx":
        return False
    known = runtime.module.ComputeCapability.__members__.keys() - {"SM75"}
    return f"SM{gpu.compute_capability.replace('.', '')}" not in known


class _Lane:
    """An execution context with its stream and buffers: what one caller at a time uses.

    Created, used and dropped inside `Device.current`.
    """

    def __init__(self, gpu: Device, runtime: TensorRT, engine: Any) -> None:
        self._gpu = gpu
        self._messages = message_log(runtime.module)
        self._messages.take()
        arguments = {}
        self._records_graphs = runtime.name == "tensorrt"
        if not self._records_graphs:
            config = engine.create_runtime_config()
            config.cuda_graph_strategy = runtime.module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            arguments["runtime_config"] = config
        self._context = engine.create_execution_context(**arguments)
        self._expect(self._context, "an execution context (too little device memory?)")
        self._stream = gpu.stream()
        self._buffers = {name: Buffer(gpu, np.uint8) for name in INPUTS}
        self._buffers[OUTPUT] = Buffer(gpu, np.float32)
        self._shape: tuple[int, ...] | None = None
        self._graph: Graph | None = None
        self._launches = 0

    def run(self, image1: NDArray[np.uint8], image2: NDArray[np.uint8]) -> NDArray[np.float32]:
        if image1.shape != self._shape:
            self._fit(image1.shape)
        for name, image in zip(INPUTS, (image1, image2), strict=True):
            np.copyto(self._buffers[name].host, image)
            self._buffers[name].upload(self._stream)
        self._launch()
        self._buffers[OUTPUT].download(self._stream)
        self._stream.synchronize()
        flow: NDArray[np.float32] = self._buffers[OUTPUT].host.copy()
        return flow

    def device_ms(self) -> float | None:
        if self._shape is None:
            return None
        # One launch ahead keeps the GPU busy while the measured one is queued: the time between the
        # first event and the launch is the CPU's, not the network's.
        self._launch()
        return self._gpu.elapsed_ms(self._stream, self._launch)

    def close(self) -> None:
        self.__dict__.clear()

    def _fit(self, shape: tuple[int, ...]) -> None:
        self._shape, self._graph, self._launches = None, None, 0
        for name, buffer in self._buffers.items():
            buffer.reserve((*shape[:3], 2) if name == OUTPUT else shape)
            self._expect(self._context.set_tensor_address(name, buffer.address), f"a {name} buffer")
        for name in INPUTS:
            self._expect(self._context.set_input_shape(name, shape), f"{name} of shape {shape}")
        self._shape = shape

    def _launch(self) -> None:
        # The second run of a shape is recorded: the first one lets TensorRT set itself up.
        if self._records_graphs and self._launches == 1:
            self._record_graph()
        if self._graph:
            self._graph.launch()
        else:
            self._enqueue()
        self._launches += 1

    def _record_graph(self) -> None:
        try:
            self._graph = Graph(self._stream, self._enqueue)
        except BackendError as error:
            self._records_graphs = False
            _log.warning("no CUDA graph, kernels are launched one by one: %s", error)

    def _enqueue(self) -> None:
        self._expect(self._context.execute_async_v3(self._stream.handle), "to run")

    def _expect(self, accepted: object, what: str) -> None:
        if not accepted:
            raise BackendError(f"TensorRT refused {what} on {self._gpu}: {self._messages.take()}")
