"""The methods that the benchmark compares, each with what it needs to run."""

import importlib.util
from dataclasses import dataclass
from typing import Literal

from engine.backends.onnx_graphs import FEATURES, WHOLE

Kind = Literal["pytorch", "engine", "stream", "many", "compensated", "bare", "opencv"]

ANY_PRECISION = ("fp32", "fp16", "int8")
OPENCV_ALGORITHMS = ("dis_ultrafast", "dis_fast", "dis_medium", "farneback")
# The method whose flow the others are compared with.
REFERENCE = "pytorch-eager"


@dataclass(frozen=True)
class Requirement:
    """One of ``modules`` must be importable; ``install`` is pip's argument that installs it."""

    modules: tuple[str, ...]
    install: str


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to compute the flow of a pair of images.

    Attributes:
        name: its name on the command line and in the table.
        kind: ``engine``: this project's engine; ``stream``: the engine on a video; ``many``: the
            engine on one pair per thread at the same time, whose latency is the time per result;
            ``compensated``: the engine with global motion compensation; ``bare``: a runtime's
            session without the engine; ``pytorch``: the reference; ``opencv``: an algorithm of
            OpenCV.
        factory: ``module:function`` that takes a ``Job`` in the worker and returns a ``Runner``.
        needs: the package that it imports.
        precisions: those it can run.
        files: files of a bundle, one of which it needs.
        gpu: whether it needs an NVIDIA GPU.
        slow: whether it runs only with ``--full`` or when it is named.
    """

    name: str
    kind: Kind
    factory: str
    needs: Requirement
    precisions: tuple[str, ...] = ANY_PRECISION
    files: tuple[str, ...] = (WHOLE,)
    gpu: bool = False
    slow: bool = False

    def unavailable(self, *, has_gpu: bool) -> str | None:
        """Return why it cannot run here, as far as can be determined without starting it."""
        if self.gpu and not has_gpu:
            return "no NVIDIA GPU on this machine"
        if all(importlib.util.find_spec(module) is None for module in self.needs.modules):
            return f"{self.needs.modules[0]} is not installed: pip install {self.needs.install}"
        return None


TORCH = Requirement(("torch",), "'flownet-engine[training]'")
ONNXRUNTIME = Requirement(("onnxruntime",), "onnxruntime")
OPENVINO = Requirement(("openvino",), "'flownet-engine[openvino]'")
OPENCV = Requirement(("cv2",), "'flownet-engine[images]'")
TENSORRT = Requirement(
    ("tensorrt", "tensorrt_rtx"),
    "'flownet-engine[tensorrt-rtx]' for RTX cards, 'flownet-engine[tensorrt]' from NVIDIA's own "
    "package index for others",
)
# Every backend on a CPU computes flow from one graph or from two.
ONE_OR_TWO_GRAPHS = (WHOLE, FEATURES)


def _pytorch(name: str, function: str, *, gpu: bool, slow: bool) -> Method:
    return Method(
        name=name,
        kind="pytorch",
        factory=f"bench.runners.torch:{function}",
        needs=TORCH,
        precisions=("fp32", "fp16") if gpu else ("fp32",),
        gpu=gpu,
        slow=slow,
    )


def _engine(
    name: str,
    runner: str = "engine:EngineRunner",
    *,
    needs: Requirement,
    kind: Kind = "engine",
    files: tuple[str, ...] = (WHOLE,),
    gpu: bool = False,
    slow: bool = False,
) -> Method:
    return Method(
        name=name,
        kind=kind,
        factory=f"bench.runners.{runner}",
        needs=needs,
        files=files,
        gpu=gpu,
        slow=slow,
    )


def _bare(name: str, runner: str, *, needs: Requirement) -> Method:
    return Method(
        name=name,
        kind="bare",
        factory=f"bench.runners.bare:{runner}",
        needs=needs,
        precisions=("fp32",),
    )


def _on_cpu(runtime: str, bare: str, needs: Requirement) -> list[Method]:
    """Return the methods around one CPU runtime; the engine and the bare session are neighbours."""
    both = ONE_OR_TWO_GRAPHS
    return [
        _engine(runtime, needs=needs, files=both),
        _bare(f"{runtime} (bare)", bare, needs=needs),
        _engine(f"{runtime} (stream)", "engine:StreamRunner", needs=needs, kind="stream",
                slow=True),
        _engine(f"{runtime} (stream+reuse)", "engine:StreamRunner", needs=needs, kind="stream",
                files=(FEATURES,), slow=True),
        _engine(f"{runtime} (many)", "engine:ManyRunner", needs=needs, kind="many", files=both,
                slow=True),
        _engine(f"{runtime} (motion compensated)", "engine:CompensatedRunner", needs=needs,
                kind="compensated", files=both, slow=True),
    ]  # fmt: skip


_ORT_TENSORRT = "onnxruntime_tensorrt:OnnxRuntimeTensorRTRunner"
METHODS = (
    _pytorch("pytorch-eager", "open_eager", gpu=False, slow=False),
    _pytorch("pytorch-compiled", "open_compiled", gpu=False, slow=True),
    _pytorch("pytorch-cuda", "open_cuda", gpu=True, slow=False),
    _pytorch("pytorch-cuda-compiled", "open_cuda_compiled", gpu=True, slow=True),
    *_on_cpu("onnxruntime", "OnnxRuntimeRunner", ONNXRUNTIME),
    *_on_cpu("openvino", "OpenVINORunner", OPENVINO),
    _engine("onnxruntime-cuda", needs=ONNXRUNTIME, gpu=True),
    _engine("onnxruntime-cuda (nhwc)", "engine:NhwcRunner", needs=ONNXRUNTIME, gpu=True, slow=True),
    _engine("tensorrt", needs=TENSORRT, files=("model.plan", "model.rtx"), gpu=True),
    _engine("onnxruntime-tensorrt", _ORT_TENSORRT, needs=ONNXRUNTIME, gpu=True, slow=True),
    _engine("onnxruntime-tensorrt-rtx", _ORT_TENSORRT, needs=ONNXRUNTIME, gpu=True, slow=True),
    Method(
        name="opencv",
        kind="opencv",
        factory="bench.runners.opencv:open_algorithm",
        needs=OPENCV,
        precisions=("fp32",),
    ),
)
BY_NAME = {method.name: method for method in METHODS}
