"""The fields of ``manifest.json``, schema 2."""

import dataclasses
from pathlib import Path
from typing import Literal

from engine.system.files import sha256_of

MANIFEST_FILE = "manifest.json"
SCHEMA = 2
# Marks a field that older bundles of the same schema lack.
OPTIONAL = {"optional": True}

Precision = Literal["fp32", "fp16", "int8"]
Role = Literal["network", "features", "match", "plan", "plugin"]
Refine = Literal["variational"]


@dataclasses.dataclass(frozen=True)
class SizeProfile:
    """Input sizes, each ``(batch, height, width)`` in pixels after padding.

    TensorRT builds its plan for ``min`` to ``max`` and optimises it for ``opt``.
    """

    min: tuple[int, int, int]
    opt: tuple[int, int, int]
    max: tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class OperationCount:
    """Floating-point operations of the fp32 network for one pair of images.

    Attributes:
        gflop: 1e9 operations; a multiply-add counts as two. Convolutions and matrix products
            only.
        height: height of the images the operations were counted for, in pixels.
        width: width of these images.
    """

    gflop: float
    height: int
    width: int

    def gflop_at(self, height: int, width: int) -> float:
        """Return the count for a pair of another padded size, in proportion to its pixels."""
        return self.gflop * (height * width) / (self.height * self.width)


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """What the model does with its inputs and its output; the engine only pads and crops.

    Attributes:
        color_order: order of the channels in the input.
        value_range: smallest and largest value of the input.
        normalisation: name of the normalisation inside the model, see ``training.normalise``.
        flow_scale: factor from the network's own output to pixels, applied inside the model.
        flow_unit: unit of the model's output.
    """

    color_order: Literal["RGB"]
    value_range: tuple[int, int]
    normalisation: str
    flow_scale: float
    flow_unit: Literal["pixels"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BundleFile:
    """One file of a bundle.

    Attributes:
        role: ``"network"``: ONNX from both images to the flow; ``"features"`` and ``"match"``: the
            two ONNX graphs of a split network; ``"plan"``: a TensorRT engine; ``"plugin"``: a
            shared library with a TensorRT plugin.
        precision: precision the file computes in; None for a plugin.
        bytes: size of the file.
        sha256: SHA-256 of its content.
        tool: name and version of the program that wrote it.
        compute_capability: of the GPU that a plan was built for, e.g. ``"9.0"``; else None.
    """

    role: Role
    precision: Precision | None
    bytes: int
    sha256: str
    tool: str
    compute_capability: str | None = None

    @classmethod
    def of(
        cls,
        path: Path,
        *,
        role: Role,
        precision: Precision | None,
        tool: str,
        compute_capability: str | None = None,
    ) -> "BundleFile":
        """Describe the file at ``path``: read its size and compute its SHA-256."""
        return cls(
            role=role,
            precision=precision,
            bytes=path.stat().st_size,
            sha256=sha256_of(path),
            tool=tool,
            compute_capability=compute_capability,
        )


@dataclasses.dataclass(frozen=True)
class Parity:
    """Difference to fp32 PyTorch on one backend, measured at build time, in pixels.

    Attributes:
        backend: name of the backend.
        status: whether the backend ran.
        reason: why it did not, or how it was compared instead.
        mean_px: mean distance between both flows.
        max_px: largest distance at any pixel.
        epe_change: end-point error of the backend minus that of PyTorch.
        pairs: the image pairs it was measured on.
    """

    backend: str
    status: Literal["ok", "not run"]
    reason: str | None
    mean_px: float | None
    max_px: float | None
    epe_change: float | None
    pairs: str


@dataclasses.dataclass(frozen=True)
class GateResult:
    """Accuracy of int8 on one backend and one set of pairs with known flow, in pixels.

    Attributes:
        backend: name of the backend.
        pairs: the image pairs.
        epe_before: mean end-point error of fp32 PyTorch.
        epe: mean end-point error of the int8 model.
        standard_error: standard error of their mean difference; None for a single pair.
        mean_px: mean distance between the int8 and the fp32 flow.
        p99_px: 99th percentile of that distance.
    """

    backend: str
    pairs: str
    epe_before: float
    epe: float
    standard_error: float | None
    mean_px: float
    p99_px: float


@dataclasses.dataclass(frozen=True)
class Gate:
    """The accuracy test that an int8 bundle passed when it was built.

    Attributes:
        max_epe_increase: largest relative increase of the end-point error (0.01 is 1 %).
        calibration: the image pairs that gave the activations' ranges.
        in_float: layers kept in float to meet the limit.
        results: measured errors.
    """

    max_epe_increase: float
    calibration: str
    in_float: tuple[str, ...]
    results: tuple[GateResult, ...]


@dataclasses.dataclass(frozen=True)
class Recurrence:
    """The repeated updates of a recurrent network.

    Attributes:
        iterations: their number, unless ``engine.load`` sets another.
        lookup: ``"volume"``: correlations of all pairs of pixels are kept in memory;
            ``"on_the_fly"``: they are computed in each update.
        stride: the flow of the updates has 1 / stride of the images' resolution.
    """

    iterations: int
    lookup: Literal["volume", "on_the_fly"]
    stride: int


@dataclasses.dataclass(frozen=True)
class WeightsOrigin:
    """Origin of the weights.

    Attributes:
        sha256: of the weights file.
        source: who trained them.
        licence: their licence.
        epe: end-point error in pixels by data set.
        facts: what a published checkpoint was taken to be, its ``flow_scale``, ``normalisation``
            and ``color``, each with the option, entry of the file or layout that says so.
    """

    sha256: str
    source: str
    licence: str
    epe: dict[str, float]
    facts: dict[str, str] = dataclasses.field(default_factory=dict, metadata=OPTIONAL)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """Description of a bundle.

    A bundle may hold several files of one role, e.g. the network in int8 and in fp32 for CPUs that
    compute int8 incorrectly; each file states its precision.

    Attributes:
        network: name of the network.
        precision: precision of the bundle's preferred models.
        parameters: number of trained parameters.
        operations: floating-point operations per pair.
        preprocessing: what the models do besides running the network.
        layout: layout of the input images.
        divisor: the models accept heights and widths that are multiples of it.
        smallest: least height and width that they accept.
        recurrence: the updates of a recurrent network; None for other networks.
        passes: how often the network is applied from coarse to fine, unless ``engine.load`` sets a
            lower number; None for other networks.
        refine: how the engine refines the models' flow, unless ``engine.load`` says otherwise;
            None: not at all.
        profile: sizes that a TensorRT plan accepts; ONNX files accept all multiples of the divisor.
        files: the bundle's other files by name.
        parity: differences to fp32 PyTorch.
        gate: the accuracy test of an int8 bundle; None for other precisions.
        weights: origin of the weights.

    ``parameters``, ``operations`` and ``preprocessing`` are None in bundles of schema 1.
    """

    schema: int = SCHEMA
    network: str
    precision: Precision
    parameters: int | None = None
    operations: OperationCount | None = None
    preprocessing: Preprocessing | None = None
    layout: Literal["NHWC"]
    divisor: int
    profile: SizeProfile
    files: dict[str, BundleFile]
    parity: tuple[Parity, ...]
    gate: Gate | None
    weights: WeightsOrigin
    smallest: int = dataclasses.field(default=1, metadata=OPTIONAL)
    recurrence: Recurrence | None = dataclasses.field(default=None, metadata=OPTIONAL)
    passes: int | None = dataclasses.field(default=None, metadata=OPTIONAL)
    refine: Refine | None = dataclasses.field(default=None, metadata=OPTIONAL)

    @property
    def iterations(self) -> int | None:
        """Number of updates or passes; None: the network is applied once."""
        return self.passes if self.recurrence is None else self.recurrence.iterations

    def names(self, role: Role, precision: Precision | None = None) -> list[str]:
        """Return the names of the files with a role, in the manifest's order.

        Args:
            role: the role.
            precision: the precision; None: any.
        """
        return [
            name
            for name, file in self.files.items()
            if file.role == role and precision in (None, file.precision)
        ]
