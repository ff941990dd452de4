"""What each network needs to be exported; the code that exports never tests a network's name."""

from collections.abc import Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Tolerance:
    """Largest accepted distance to the flow of fp32 PyTorch; holds for every verified pair.

    Attributes:
        mean_px: mean over the pixels of the distance between the two flow vectors.
        max_px: largest distance at any pixel.
        relative: mean distance divided by the mean length of the reference's flow vectors, so
            that a network whose flow is small does not pass for that reason alone.
    """

    mean_px: float
    max_px: float
    relative: float


@dataclass(frozen=True)
class ExportSpec:
    """How one network is exported.

    Attributes:
        tolerances: limits of the verification, by precision.
        fp32_islands: modules that an fp16 graph computes in float32; see
            `export.graph.precision.HalfNetwork`.
        correlates: whether the network has a correlation, for which TensorRT can have a plugin.
    """

    tolerances: Mapping[str, Tolerance]
    fp32_islands: tuple[str, ...] = ()
    correlates: bool = False


_FLOWNETS = ExportSpec(
    tolerances={
        "fp32": Tolerance(mean_px=1e-3, max_px=0.05, relative=1e-3),
        # Of 11 bits' rounding of values 0.003 px arrive in ONNX Runtime where flownets_slim sees
        # motion of 40 px. OpenVINO rounds LeakyReLU's slope besides, from 0.1 to 0.09998: after all
        # layers that is 1e-3 of the flow, 0.036 px. In float32, LeakyReLU leaves 1e-5 of it there,
        # but would not be one with its convolution on a GPU.
        "fp16": Tolerance(mean_px=0.04, max_px=1.0, relative=1e-2),
        # Whether int8 is accurate is for its gate to say; this finds graphs computed wrongly.
        "int8": Tolerance(mean_px=3.0, max_px=100.0, relative=0.3),
    },
    # The finest head predicts pixels / 20: half precision there would put steps of 0.04 px
    # between neighbouring values of a flow of 60 px.
    fp32_islands=("predict_flow2",),
)

_PYRAMID = replace(
    _FLOWNETS,
    fp32_islands=(
        *("predict_flow2", "refinement8.predict_residual", "refinement4.predict_residual"),
    ),
)

_FLOWNETC = replace(_FLOWNETS, correlates=True)

SPECS: dict[str, ExportSpec] = {
    "flownets": _FLOWNETS,
    "flownets_slim": _FLOWNETS,
    "flownets_pyramid": _PYRAMID,
    "flownets_pyramid_slim": _PYRAMID,
    "flownetc": _FLOWNETC,
    "flownetc_slim": _FLOWNETC,
}
