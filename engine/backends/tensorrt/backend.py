"""TensorRT: runs a plan on an NVIDIA GPU.

One file for both packages, which share their Python API: ``tensorrt`` 10.9 to 11 (data centre,
Jetson; reads ``model.plan``) and ``tensorrt_rtx`` 1.7 (RTX cards; reads ``model.rtx``). They differ
here in two things: TensorRT for RTX records CUDA graphs itself, and it compiles its kernels where
it runs, which are kept for the next process (``runtime_cache.py``).

A plan is opened once and shared. Every caller that runs at the same time has a lane of its own: an
execution context, a stream and buffers (``tensorrt_lane.py``).
"""

import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.backends.tensorrt.package import (
    PLAN_FILES,
    PLUGIN_LIBRARY,
    TensorRT,
    load_plugins,
    load_tensorrt,
    message_log,
)
from engine.backends.tensorrt.runtime_cache import RuntimeCache
from engine.backends.tensorrt.slots import INPUTS, OUTPUT, Lane
from engine.bundle.manifest import Manifest, SizeProfile, rebuild_command
from engine.cuda.device import Device, Pool
from engine.cuda.flow_array import DeviceArray
from engine.cuda.foreign_arrays import CallerStream, DeviceView
from engine.errors import BackendError, HardwareMissingError, PlanMismatchError
from engine.system.cache import cache_key

# Each lane holds TensorRT's scratch memory for the profile's largest size.
MAX_LANES = 4


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
            cache = _runtime_cache(runtime, gpu, engine, manifest)
        self.device = f"cuda:{device}"
        self.runtime_version = runtime.tool
        self.profile: SizeProfile | None = SizeProfile(
            *[_batch_height_width(shape) for shape in profile_shapes]
        )
        self._lanes = Pool(gpu, lambda: Lane(gpu, runtime, engine, cache), limit=MAX_LANES)
        # Also at exit and on collection: device memory has to go while CUDA is there.
        self._finalizer = weakref.finalize(self, _close, gpu, self._lanes, cache)

    def prepare(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the image."""
        return image

    def run(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the flow (N, H, W, 2) float32 in pixels from two (N, H, W, 3) uint8 RGB arrays.

        Raises BackendError for a size outside `profile`, after `close`, and when the GPU fails.
        """
        with self._lanes.borrow() as lane:
            return lane.run(first, second)

    def run_device(
        self,
        first: DeviceView,
        second: DeviceView,
        size: tuple[int, int],
        *,
        out: DeviceView | None,
        stream: CallerStream | None,
    ) -> DeviceArray:
        """See ``DeviceBackend.run_device``.

        Raises InputError for arrays that are not on this GPU, BackendError as `run`.
        """
        with self._lanes.borrow(None if stream is None else stream.handle) as lane:
            return lane.run_device((first, second), size, out, stream)

    def device_ms(self) -> float | None:
        """Return the GPU's milliseconds for the last images once more; None before any run.

        The images are on the device by then: copies do not count.
        """
        with self._lanes.borrow() as lane:
            return lane.device_ms()

    def close(self) -> None:
        """Wait for the callers inside `run`, then free all device memory; again is harmless."""
        self._finalizer()


def _close(gpu: Device, lanes: Pool[Lane], cache: RuntimeCache | None) -> None:
    lanes.close()
    if cache is not None:
        with gpu.current():
            cache.close()


def _runtime_cache(
    runtime: TensorRT, gpu: Device, engine: Any, manifest: Manifest
) -> RuntimeCache | None:
    if runtime.name != "tensorrt_rtx":
        return None
    plan = manifest.files[runtime.plan_file].sha256
    key = cache_key(runtime.name, plan, runtime.tool, gpu.name, gpu.compute_capability)
    return RuntimeCache(runtime, engine, key)


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
