"""TensorRT plans from ONNX.

Built with ``tensorrt`` where its libraries load (which needs the GPU that the plan is for),
otherwise with ``tensorrt_rtx`` (no GPU needed; the plan runs on compute capability 8.0, 8.6, 8.9,
12.0 and later,
https://docs.nvidia.com/deeplearning/tensorrt-rtx/latest/inference-library/cpu-engines.html).
Networks are strongly typed: the ONNX graph defines every precision. TensorRT accepts a uint8 input
only directly before a Cast.
"""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.backends.base import INPUTS
from engine.backends.tensorrt.package import (
    PLAN_FILES,
    TensorRT,
    load_tensorrt,
    message_log,
)
from engine.backends.tensorrt.plugins import load_plugins
from engine.bundle.manifest import SizeProfile
from engine.cuda.device import Device
from engine.errors import BackendError, EngineError, InputError, nearest
from engine.system.cache import cache_key, read_cached, write_cached
from engine.system.files import write_atomically
from export.tensorrt.correlation_form import obstacle_to, plugin_library

PRECISIONS = ("fp32", "fp16", "int8")
_CHANNELS = 3


class PlanBuildError(EngineError):
    """TensorRT cannot read the graph, or cannot build a plan from it."""


@dataclass(frozen=True)
class BuiltPlan:
    """A plan on disk.

    Attributes:
        file: its name, ``model.plan`` or ``model.rtx``.
        tool: package and version that built it.
        compute_capability: of the GPU that the plan is for, e.g. ``"9.0"``; None: portable.
        bytes: its size.
    """

    file: str
    tool: str
    compute_capability: str | None
    bytes: int


def build_plan(
    onnx_path: Path,
    plan_path: Path,
    profile: SizeProfile,
    *,
    precision: str,
    correlation: str = "onnx",
    packages: Iterable[str] = PLAN_FILES,
) -> BuiltPlan:
    """Build a plan with one optimisation profile and write it atomically.

    Args:
        onnx_path: the deployable graph (inputs ``image1`` and ``image2``, uint8 NHWC).
        plan_path: where to; the suffix is replaced by the tool's, ``.plan`` or ``.rtx``.
        profile: smallest, typical and largest (batch, height, width) of the plan.
        precision: of the graph. For fp32, TF32 is disabled: its 10-bit mantissa changes the flow.
        correlation: how the graph writes the correlation, if it has one; one of
            `export.tensorrt.correlation_form.FORMS`.
        packages: names of TensorRT's packages; the first that loads is used.

    Raises:
        InputError: ``profile`` or ``precision`` is invalid.
        BackendNotInstalledError: none of the packages loads.
        HardwareMissingError: ``tensorrt`` finds no GPU.
        PlanBuildError: the parser or the builder rejects the graph; the message lists why.
    """
    _check(profile, precision)
    tensorrt = load_tensorrt(packages)
    gpu = Device(0) if tensorrt.name == "tensorrt" else None
    with gpu.current() if gpu else contextlib.nullcontext():
        _prepare_plugins(tensorrt, correlation, profile)
        plan = _serialized_plan(tensorrt, gpu, onnx_path, profile, precision)
    path = plan_path.with_suffix(Path(tensorrt.plan_file).suffix)
    write_atomically(path, plan)
    return BuiltPlan(
        file=path.name,
        tool=tensorrt.tool,
        compute_capability=gpu.compute_capability if gpu else None,
        bytes=path.stat().st_size,
    )


def _check(profile: SizeProfile, precision: str) -> None:
    if precision not in PRECISIONS:
        raise InputError(
            f"unknown precision {precision!r}; expected one of {', '.join(PRECISIONS)}."
            f"{nearest(precision, PRECISIONS)}"
        )
    axes = zip(("batch", "height", "width"), profile.min, profile.opt, profile.max, strict=True)
    for axis, low, typical, high in axes:
        if not 1 <= low <= typical <= high:
            raise InputError(
                f"size profile: {axis} has min {low}, opt {typical}, max {high}; "
                "expected 1 <= min <= opt <= max. Correct --min-size, --size or --max-size."
            )


def _prepare_plugins(tensorrt: TensorRT, correlation: str, profile: SizeProfile) -> None:
    obstacle = obstacle_to(correlation, tensorrt, profile)
    if obstacle is not None:
        raise PlanBuildError(f"correlation as {correlation}: {obstacle}")
    if correlation == "library":
        path = plugin_library()
        load_plugins(tensorrt, path.name, path.read_bytes())


def _serialized_plan(
    tensorrt: TensorRT, gpu: Device | None, onnx_path: Path, profile: SizeProfile, precision: str
) -> Any:
    trt = tensorrt.module
    messages = message_log(trt)
    messages.take()
    try:
        builder = trt.Builder(messages)
    except TypeError as error:  # the factory's null pointer, as pybind11 reports it
        raise BackendError(f"{tensorrt.tool} does not start: {messages.take()}.") from error
    # TensorRT 11 and TensorRT for RTX are always strongly typed; TensorRT 10 needs the flag.
    flag = trt.NetworkDefinitionCreationFlag
    flags = [flag.STRONGLY_TYPED]
    # For a plugin with both PTX and a Python function, this flag selects the PTX.
    flags += [flag.PREFER_AOT_PYTHON_PLUGINS] if hasattr(flag, "PREFER_AOT_PYTHON_PLUGINS") else []
    network = builder.create_network(sum(1 << int(each) for each in flags))
    parser = trt.OnnxParser(network, messages)
    if not parser.parse_from_file(str(onnx_path)):
        faults = [_fault(parser.get_error(index)) for index in range(parser.num_errors)]
        raise PlanBuildError(
            f"{tensorrt.tool} cannot read {onnx_path}:\n" + "\n".join(f"  {it}" for it in faults)
        )
    config = builder.create_builder_config()
    if precision == "fp32":
        config.clear_flag(trt.BuilderFlag.TF32)
    _add_profile(builder, network, config, profile)
    with _timings(tensorrt, gpu, config):
        messages.take()
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise PlanBuildError(
            f"{tensorrt.tool} cannot build a plan from {onnx_path}: {messages.take()}"
        )
    return plan


@contextlib.contextmanager
def _timings(tensorrt: TensorRT, gpu: Device | None, config: Any) -> Iterator[None]:
    """Load the timing cache of this kind of GPU before a build, and store it afterwards.

    Measuring the tactics of each layer takes most of a build. TensorRT for RTX has the same
    functions, deprecated, but measures nothing.
    """
    if gpu is None:
        yield
        return
    key = cache_key("tensorrt-timings", tensorrt.tool, gpu.name, gpu.compute_capability)
    for content in (read_cached(key), b""):
        if content is not None:
            timings = config.create_timing_cache(content)
            if timings is not None and config.set_timing_cache(timings, ignore_mismatch=False):
                break  # otherwise it is of another GPU or TensorRT
    yield
    timings = config.get_timing_cache()
    if timings is not None:
        write_cached(key, bytes(timings.serialize()))


def _fault(error: Any) -> str:
    node = f"{error.node_operator()} {error.node_name()!r}: " if error.node_operator() else ""
    return f"{node}{error.desc()}"


def _add_profile(builder: Any, network: Any, config: Any, profile: SizeProfile) -> None:
    names = [network.get_input(index).name for index in range(network.num_inputs)]
    if sorted(names) != sorted(INPUTS):
        raise PlanBuildError(
            f"the graph has the inputs {', '.join(names) or 'none'}; expected {', '.join(INPUTS)}. "
            "Export it with export.graph.onnx_from_torch."
        )
    sizes = builder.create_optimization_profile()
    for name in INPUTS:
        sizes.set_shape(
            name,
            min=(*profile.min, _CHANNELS),
            opt=(*profile.opt, _CHANNELS),
            max=(*profile.max, _CHANNELS),
        )
    config.add_optimization_profile(sizes)
