"""What each network needs to be exported; the code that exports never tests a network's name."""

from collections.abc import Mapping
from dataclasses import dataclass


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
            `export.precision.HalfNetwork`.
    """

    tolerances: Mapping[str, Tolerance]
    fp32_islands: tuple[str, ...] = ()


_FLOWNETS = ExportSpec(
    tolerances={
        "fp32": Tolerance(mean_px=1e-3, max_px=0.05, relative=1e-3),
        "fp16": Tolerance(mean_px=0.02, max_px=1.0, relative=1e-2),
    },
    # The finest head predicts pixels / 20: half precision there would put steps of 0.04 px
    # between neighbouring values of a flow of 60 px.
    fp32_islands=("predict_flow2",),
)

SPECS: dict[str, ExportSpec] = {"flownets": _FLOWNETS, "flownets_slim": _FLOWNETS}
