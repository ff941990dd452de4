"""Open a TensorRT plan: the engine that all execution contexts share."""

from pathlib import Path
from typing import Any

from engine.backends.base import INPUTS, OUTPUT
from engine.backends.model_files import read_model
from engine.backends.tensorrt.package import PLUGIN_LIBRARY, TensorRT, message_log
from engine.backends.tensorrt.plugins import load_plugins
from engine.bundle.advice import rebuild_command
from engine.bundle.manifest import Manifest
from engine.cuda.device import Device
from engine.errors import BackendError, HardwareMissingError, PlanMismatchError


def open_plan(runtime: TensorRT, gpu: Device, bundle: Path, manifest: Manifest) -> Any:
    """Return the ``ICudaEngine`` of the bundle's plan. Call inside `Device.current`.

    Raises:
        HardwareMissingError: TensorRT does not start on this GPU, or TensorRT for RTX does not
            support it.
        PlanMismatchError: the plan was built for another TensorRT or another GPU.
        BackendError: the plan has other tensors, or TensorRT cannot load the plugin library.
        BundleError: a file has changed since it was checked.
    """
    messages = message_log(runtime.module)
    messages.take()
    try:
        deserializer = runtime.module.Runtime(messages)
    except TypeError as error:  # the factory returned a null pointer, as pybind11 reports it
        raise HardwareMissingError(
            f"{runtime.tool} does not start on {gpu}: {messages.take()}. "
            "Check that the NVIDIA driver is recent enough for it"
        ) from error
    if PLUGIN_LIBRARY in manifest.files:
        library = read_model(bundle / PLUGIN_LIBRARY, manifest.files[PLUGIN_LIBRARY])
        load_plugins(runtime, PLUGIN_LIBRARY, library)
    plan = read_model(bundle / runtime.plan_file, manifest.files[runtime.plan_file])
    engine = deserializer.deserialize_cuda_engine(plan)
    rebuild = rebuild_command(bundle, manifest, target="tensorrt")
    if engine is None:
        raise _mismatch(runtime, gpu, manifest, messages.take(), rebuild)
    names = {engine.get_tensor_name(index) for index in range(engine.num_io_tensors)}
    if names != {*INPUTS, OUTPUT}:
        raise BackendError(
            f"{runtime.plan_file} has the tensors {sorted(names)}; expected "
            f"{sorted({*INPUTS, OUTPUT})}. Rebuild it: {rebuild}"
        )
    types = {name: engine.get_tensor_dtype(name) for name in (*INPUTS, OUTPUT)}
    kinds = runtime.module.DataType
    if types != {**dict.fromkeys(INPUTS, kinds.UINT8), OUTPUT: kinds.FLOAT}:
        raise BackendError(
            f"{runtime.plan_file} has tensors of {types}; expected images of UINT8 and a flow of "
            f"FLOAT. Rebuild it: {rebuild}"
        )
    return engine


def _mismatch(
    runtime: TensorRT, gpu: Device, manifest: Manifest, reason: str, rebuild: str
) -> BackendError:
    if not _supports(runtime, gpu):
        return HardwareMissingError(
            f"{runtime.plan_file} needs a GPU that TensorRT for RTX makes portable plans for; "
            f"{runtime.tool} does not open it on {gpu}: {reason}. Use the tensorrt package"
        )
    built = manifest.files[runtime.plan_file]
    return PlanMismatchError(
        f"{runtime.plan_file} was built by {built.tool} for compute capability "
        f"{built.compute_capability or 'any (portable)'} and does not open with {runtime.tool} "
        f"on {gpu}: {reason}. Rebuild it here: {rebuild}"
    )


def _supports(runtime: TensorRT, gpu: Device) -> bool:
    """Return whether a plan can exist for this GPU.

    Portable plans of TensorRT for RTX exclude data-centre GPUs and Turing.
    https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/inference-library/cpu-engines.html
    """
    if runtime.name != "tensorrt_rtx":
        return True
    portable = runtime.module.ComputeCapability.__members__.keys() - {"SM75"}
    return f"SM{gpu.compute_capability.replace('.', '')}" in portable
