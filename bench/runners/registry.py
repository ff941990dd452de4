"""The methods that the benchmark compares, each with what it needs to run."""

import importlib.util
from dataclasses import dataclass
from typing import Literal

from engine.backends.onnx_graphs import FEATURES, WHOLE

Kind = Literal[
    "pytorch", "engine", "stream", "many", "unrefined", "compensated", "tiled", "downscaled",
    "bare", "opencv"
]  # fmt: skip

OPENCV_ALGORITHMS = ("dis_ultrafast", "dis_fast", "dis_medium", "farneback")
# The method whose flow the others are compared with.
REFERENCE = "pytorch-eager"


@dataclass(frozen=True)
class Requirement:
    """One of ``modules`` must be importable; ``install`` is pip's argument that installs it."""

    modules: tuple[str, ...]
    install: str


@dataclass(frozen=True)
class Method:
    """One way to compute the flow of a pair of images.

    Attributes:
        name: its name on the command line and in the table.
        kind: ``engine``: this project's engine; ``stream``: the engine on a video; ``many``: the
            engine on one pair per thread at the same time, whose latency is the time per result;
            ``unrefined``, ``compensated``, ``tiled``, ``downscaled``: the engine without the
            refinement that the bundle asks for, with global motion compensation, in tiles, at a
            smaller size; ``bare``: a runtime's session without the engine;
            ``pytorch``: the reference; ``opencv``: an algorithm of OpenCV.
        runner: ``module:function`` in this package; see ``factory``.
        needs: the package that it imports.
        precisions: those it can run.
        files: files of a bundle, one of which it needs.
        gpu: whether it needs an NVIDIA GPU.
        slow: whether it runs only with ``--full`` or when it is named.
        named: whether it runs only when it is named.
        options: further arguments of ``engine.load``, with their values.
    """

    name: str
    kind: Kind
    runner: str
    needs: Requirement
    precisions: tuple[str, ...] = ("fp32", "fp16", "int8")
    files: tuple[str, ...] = (WHOLE,)
    gpu: bool = False
    slow: bool = False
    named: bool = False
    options: tuple[tuple[str, object], ...] = ()

    @property
    def factory(self) -> str:
        """``module:function`` that takes a ``Job`` in the worker and returns a ``Runner``."""
        return f"bench.runners.{self.runner}"

    def unavailable(self, *, has_gpu: bool) -> str | None:
        """Return why it cannot run here, as far as can be determined without starting it."""
        if self.gpu and not has_gpu:
            return "no NVIDIA GPU on this machine"
        if all(importlib.util.find_spec(module) is None for module in self.needs.modules):
            return f"{self.needs.modules[0]} is not installed: pip install {self.needs.install}"
        return None


TORCH = Requirement(("torch",), "'flownet-engine[training]'")
ORT = Requirement(("onnxruntime",), "onnxruntime")
OPENVINO = Requirement(("openvino",), "'flownet-engine[openvino]'")
OPENCV = Requirement(("cv2",), "'flownet-engine[images]'")
TENSORRT = Requirement(
    ("tensorrt", "tensorrt_rtx"),
    "'flownet-engine[tensorrt-rtx]' for RTX cards, 'flownet-engine[tensorrt]' from NVIDIA's own "
    "package index for others",
)
FP32, HALF = ("fp32",), ("fp32", "fp16")
PLANS = ("model.plan", "model.rtx")
ENGINE, STREAM, MANY = "engine:EngineRunner", "engine:StreamRunner", "engine:ManyRunner"
OPTIONS = "engine:OptionsRunner"
ORT_TENSORRT = "onnxruntime_tensorrt:OnnxRuntimeTensorRTRunner"


def _on_cpu(name: str, bare: str, needs: Requirement) -> list[Method]:
    """Return the methods around a CPU runtime; engine and bare session are measured in sequence."""
    both = (WHOLE, FEATURES)  # a bundle of one graph or of two
    return [
        Method(name, "engine", ENGINE, needs, files=both),
        Method(f"{name} (bare)", "bare", bare, needs, FP32),
        Method(f"{name} (stream)", "stream", STREAM, needs, slow=True),
        Method(f"{name} (stream+reuse)", "stream", STREAM, needs, files=(FEATURES,), slow=True),
        Method(f"{name} (many)", "many", MANY, needs, files=both, slow=True),
        Method(f"{name} (motion compensated)", "compensated", OPTIONS, needs, files=both,
               slow=True, options=(("compensate_motion", True),)),
        Method(f"{name} (unrefined)", "unrefined", OPTIONS, needs, files=both, named=True,
               options=(("refine", "none"),)),
        *_for_large_frames(name, needs),
    ]  # fmt: skip


def _for_large_frames(name: str, needs: Requirement) -> list[Method]:
    both = (WHOLE, FEATURES)
    return [
        *(Method(f"{name} (tiled {side})", "tiled", OPTIONS, needs, files=both, named=True,
                 options=(("tile", side),)) for side in (512, 768, 1024)),
        *(Method(f"{name} (max side {side})", "downscaled", OPTIONS, needs, files=both, named=True,
                 options=(("max_side", side),)) for side in (960, 1280, 1920)),
    ]  # fmt: skip


METHODS = (
    Method("pytorch-eager", "pytorch", "torch:open_eager", TORCH, FP32),
    Method("pytorch-compiled", "pytorch", "torch:open_compiled", TORCH, FP32, slow=True),
    Method("pytorch-cuda", "pytorch", "torch:open_cuda", TORCH, HALF, gpu=True),
    Method("pytorch-cuda-compiled", "pytorch", "torch:open_cuda_compiled", TORCH, HALF, gpu=True,
           slow=True),
    *_on_cpu("onnxruntime", "bare:OnnxRuntimeRunner", ORT),
    *_on_cpu("openvino", "bare:OpenVINORunner", OPENVINO),
    Method("onnxruntime-cuda", "engine", ENGINE, ORT, gpu=True),
    Method("onnxruntime-cuda (nhwc)", "engine", "engine:NhwcRunner", ORT, gpu=True, slow=True),
    Method("tensorrt", "engine", ENGINE, TENSORRT, files=PLANS, gpu=True),
    Method("onnxruntime-tensorrt", "engine", ORT_TENSORRT, ORT, gpu=True, slow=True),
    Method("onnxruntime-tensorrt-rtx", "engine", ORT_TENSORRT, ORT, gpu=True, slow=True),
    Method("opencv", "opencv", "opencv:open_algorithm", OPENCV, FP32),
)  # fmt: skip
BY_NAME = {method.name: method for method in METHODS}
