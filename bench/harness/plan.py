"""Which rows the table has: who competes, at which sizes, in which precisions."""

import importlib.util
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bench.cli import names_among
from engine.backends.onnx_graphs import FEATURES, WHOLE

ENGINE_PRECISIONS = ("fp32", "fp16", "int8")
PEERS = ("dis_ultrafast", "dis_fast", "dis_medium", "farneback")


@dataclass(frozen=True)
class Contestant:
    """One way to get flow from a pair of images.

    Attributes:
        name: its name on the command line and in the table.
        factory: ``module:function``, called with a ``Job`` in the worker, returns a ``Runner``.
        kind: ``engine`` is what this project ships, ``stream`` the same on a video, ``many`` the
            same on as many pairs at once as it has threads, ``aligned`` the same with what most of
            a picture moves by taken out first, ``bare`` its runtime without it,
            ``pytorch`` the reference, ``peer`` what a user might take instead of a network. A
            ``many`` row's latency is the time from result to result, not that of any one pair.
        precisions: those it can run at all.
        modules: Python modules of which it needs one.
        install: the argument of pip that brings one.
        files: of which files a bundle has to hold one.
        gpu: whether it needs an NVIDIA GPU.
        slow: whether it runs only when asked for by name or with ``--full``.
    """

    name: str
    factory: str
    kind: Literal["pytorch", "engine", "stream", "many", "aligned", "bare", "peer"]
    precisions: tuple[str, ...]
    modules: tuple[str, ...]
    install: str
    files: tuple[str, ...] = (WHOLE,)
    gpu: bool = False
    slow: bool = False


TORCH = (("torch",), "'flownet-engine[training]'")
OPENVINO = (("openvino",), "'flownet-engine[openvino]'")
TENSORRT = (
    ("tensorrt", "tensorrt_rtx"),
    "'flownet-engine[tensorrt-rtx]' for RTX cards, 'flownet-engine[tensorrt]' from NVIDIA's own "
    "package index for others",
)
ORT = (("onnxruntime",), "onnxruntime")
ENGINE = "bench.runners.engine:EngineRunner"
ORT_TENSORRT = "bench.runners.onnxruntime_tensorrt:OnnxRuntimeTensorRTRunner"
STREAM = "bench.runners.engine:StreamRunner"
MANY = "bench.runners.engine:ManyRunner"
ALIGNED = "bench.runners.engine:AlignedRunner"
_MODES: tuple[tuple[Literal["many", "aligned"], str], ...] = (("many", MANY), ("aligned", ALIGNED))
# What two graphs share between a video's pairs only shows in a stream; both still give any flow.
EITHER = (WHOLE, FEATURES)
PLANS = ("model.plan", "model.rtx")

CONTESTANTS = (
    Contestant("pytorch-eager", "bench.runners.torch:open_eager", "pytorch", ("fp32",), *TORCH),
    Contestant(
        "pytorch-compiled",
        "bench.runners.torch:open_compiled",
        "pytorch",
        ("fp32",),
        *TORCH,
        slow=True,
    ),
    Contestant(
        "pytorch-cuda",
        "bench.runners.torch:open_cuda",
        "pytorch",
        ("fp32", "fp16"),
        *TORCH,
        gpu=True,
    ),
    Contestant(
        "pytorch-cuda-compiled",
        "bench.runners.torch:open_cuda_compiled",
        "pytorch",
        ("fp32", "fp16"),
        *TORCH,
        gpu=True,
        slow=True,
    ),
    Contestant("onnxruntime", ENGINE, "engine", ENGINE_PRECISIONS, *ORT, EITHER),
    Contestant(
        "onnxruntime (bare)", "bench.runners.engine:BareOnnxRuntime", "bare", ("fp32",), *ORT
    ),
    Contestant("openvino", ENGINE, "engine", ENGINE_PRECISIONS, *OPENVINO, EITHER),
    Contestant(
        "openvino (bare)", "bench.runners.engine:BareOpenVINO", "bare", ("fp32",), *OPENVINO
    ),
    Contestant("onnxruntime-cuda", ENGINE, "engine", ENGINE_PRECISIONS, *ORT, gpu=True),
    Contestant(
        "onnxruntime-cuda (nhwc)",
        "bench.runners.engine:NhwcRunner",
        "engine",
        ENGINE_PRECISIONS,
        *ORT,
        gpu=True,
        slow=True,
    ),
    Contestant("tensorrt", ENGINE, "engine", ENGINE_PRECISIONS, *TENSORRT, PLANS, gpu=True),
    *(
        Contestant(name, ORT_TENSORRT, "engine", ENGINE_PRECISIONS, *ORT, gpu=True, slow=True)
        for name in ("onnxruntime-tensorrt", "onnxruntime-tensorrt-rtx")
    ),
    *(
        Contestant(f"{name} ({how})", STREAM, "stream", ENGINE_PRECISIONS, *needs, files, slow=True)
        for name, needs in (("onnxruntime", ORT), ("openvino", OPENVINO))
        for how, files in (("stream", (WHOLE,)), ("stream+reuse", (FEATURES,)))
    ),
    *(
        Contestant(f"{name} ({kind})", factory, kind, ENGINE_PRECISIONS, *needs, EITHER, slow=True)
        for kind, factory in _MODES
        for name, needs in (("onnxruntime", ORT), ("openvino", OPENVINO))
    ),
    Contestant(
        "opencv",
        "bench.runners.opencv:open_peer",
        "peer",
        ("fp32",),
        ("cv2",),
        "'flownet-engine[images]'",
    ),
)

BY_NAME = {contestant.name: contestant for contestant in CONTESTANTS}
REFERENCE = "pytorch-eager"


@dataclass(frozen=True)
class Row:
    """What one line of the table measures; ``network`` is the method's name for a peer."""

    network: str
    backend: str
    precision: str
    height: int
    width: int
    batch: int

    @property
    def contestant(self) -> Contestant:
        return BY_NAME[self.backend]

    def __str__(self) -> str:
        size = f"{self.height}x{self.width}"
        return f"{self.network} {self.backend} {self.precision} {size} batch {self.batch}"


def row_groups(
    networks: Sequence[str],
    backends: Sequence[str],
    *,
    precisions: Sequence[str],
    sizes: Sequence[tuple[int, int]],
    batches: Sequence[int],
) -> list[list[Row]]:
    """Every row of the run, in groups of those that take turns.

    A group is one network at one size and batch, so that no more processes than needed are alive
    together. A peer has one precision and takes one pair at a time: the first group of each size
    has the peers.
    """
    groups = []
    for height, width in sizes:
        peers = [
            Row(method, name, "fp32", height, width, 1)
            for name in backends
            if BY_NAME[name].kind == "peer"
            for method in PEERS
        ]
        for batch, network in itertools.product(batches, networks):
            group = [
                Row(network, name, precision, height, width, batch)
                for precision in precisions
                for name in backends
                if BY_NAME[name].kind != "peer" and precision in BY_NAME[name].precisions
            ]
            groups.append(group + peers)
            peers = []
    return [group for group in groups if group]


def backend_names(text: str, *, full: bool) -> list[str]:
    """Expand ``all``, or check a comma-separated list of names.

    Raises:
        ArgumentTypeError: an unknown name; the message gives the nearest one.
    """
    if text == "all":
        return [contestant.name for contestant in CONTESTANTS if full or not contestant.slow]
    return names_among(BY_NAME, "backend")(text)


def unavailable(contestant: Contestant, *, has_gpu: bool) -> str | None:
    """Why a contestant cannot run here, as far as can be told without starting it."""
    if contestant.gpu and not has_gpu:
        return "no NVIDIA GPU on this machine"
    if all(importlib.util.find_spec(module) is None for module in contestant.modules):
        return f"{contestant.modules[0]} is not installed: pip install {contestant.install}"
    return None
