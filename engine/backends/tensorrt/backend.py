"""The TensorRT backend: runs a plan on an NVIDIA GPU.

It supports two packages with nearly the same Python API: ``tensorrt`` 10.9 to 11 (data centre,
Jetson; reads ``model.plan``) and ``tensorrt_rtx`` 1.7 (RTX cards; reads ``model.rtx``). The latter
differs in two ways: it captures CUDA graphs itself, and it compiles kernels at run time, which
``runtime_cache.py`` stores for the next process.
"""

import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from engine.backends.base import INPUTS, Flows, Images
from engine.backends.tensorrt.package import PLAN_FILES, TensorRT, load_tensorrt
from engine.backends.tensorrt.runtime_cache import RuntimeCache
from engine.backends.tensorrt.session import open_plan
from engine.backends.tensorrt.slots import ExecutionSlot
from engine.bundle.advice import rebuild_command
from engine.bundle.manifest import Manifest, SizeProfile
from engine.cuda.device import Device
from engine.cuda.flow_array import DeviceArray
from engine.cuda.foreign_arrays import CallerStream, DeviceView
from engine.cuda.pool import Pool
from engine.errors import BackendError
from engine.system.cache import cache_key

# Each slot has TensorRT's scratch memory for the largest size of the profile.
MAX_SLOTS = 4


class TensorRTBackend:
    """``model.plan`` or ``model.rtx`` of a bundle; a ``DeviceBackend``.

    Concurrent callers share the plan; each has an execution slot, up to ``MAX_SLOTS``.

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
        iterations: int | None = None,
    ) -> None:
        """Open the plan on a GPU.

        Args:
            bundle: the bundle's folder.
            manifest: the bundle's manifest.
            device: index of the GPU.
            threads: ignored.
            streams: ignored; slots are made when callers overlap.
            iterations: updates of a recurrent network; None: the bundle's own number.

        Raises:
            BackendNotInstalledError: TensorRT or PyCUDA is missing.
            HardwareMissingError: there is no such GPU, no driver for it, or TensorRT for RTX does
                not support it.
            PlanMismatchError: the plan was built for another TensorRT or another GPU.
            BackendError: the bundle has no plan, or a plan with other tensors.
            BundleError: a file has changed since it was checked.
        """
        packages = [name for name, file in PLAN_FILES.items() if file in manifest.files]
        if not packages:
            raise BackendError(
                f"{bundle} has no TensorRT plan; expected {' or '.join(PLAN_FILES.values())}. "
                f"Build one: {rebuild_command(bundle, manifest, target=self.name)}"
            )
        _check_iterations(manifest, iterations)
        runtime = load_tensorrt(packages)
        gpu = Device(device)
        with gpu.current():
            engine = open_plan(runtime, gpu, bundle, manifest)
            profile_shapes = engine.get_tensor_profile_shape(INPUTS[0], 0)
            cache = _runtime_cache(runtime, gpu, engine, manifest)
        self.device = f"cuda:{device}"
        self.runtime_version = runtime.tool
        self.arithmetic: str = manifest.precision
        self.profile: SizeProfile | None = SizeProfile(
            *[_batch_height_width(shape) for shape in profile_shapes]
        )
        self._slots = Pool(gpu, lambda: ExecutionSlot(gpu, runtime, engine, cache), limit=MAX_SLOTS)
        # Also at exit and on collection: device memory must be freed while CUDA is loaded.
        self._finalizer = weakref.finalize(self, _close, gpu, self._slots, cache)

    def prepare(self, image: Images) -> Images:
        """Return the image."""
        return image

    def run(self, first: Images, second: Images) -> Flows:
        """See ``Backend.run``.

        Raises:
            BackendError: the size is outside `profile`, the backend is closed, or the GPU failed.
        """
        with self._slots.borrow() as slot:
            return slot.run(first, second)

    def run_device(
        self,
        first: DeviceView,
        second: DeviceView,
        size: tuple[int, int],
        *,
        out: DeviceView | None,
        stream: CallerStream | None,
    ) -> DeviceArray:
        """See ``DeviceBackend.run_device``."""
        with self._slots.borrow(None if stream is None else stream.handle) as slot:
            return slot.run_device((first, second), size, out, stream)

    def device_ms(self) -> float | None:
        """Return the GPU time of one more run with the last images; None before any run.

        Excludes the copies between host and device.
        """
        with self._slots.borrow() as slot:
            return slot.device_ms()

    def close(self) -> None:
        """Wait for the running callers, then free all device memory. Idempotent."""
        self._finalizer()


def _close(gpu: Device, slots: Pool[ExecutionSlot], cache: RuntimeCache | None) -> None:
    slots.close()
    if cache is not None:
        with gpu.current():
            cache.close()


def _check_iterations(manifest: Manifest, iterations: int | None) -> None:
    own = manifest.iterations
    if iterations is not None and own is not None and iterations != own:
        raise BackendError(
            f"iterations is {iterations}; the TensorRT plan of this {manifest.network} has "
            f"{own} updates, which cannot be changed. Rebuild it with --iterations "
            f"{iterations}, or use backend openvino or onnxruntime."
        )


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
