"""What is to be built, decided before any of it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from engine.bundle.manifest import SizeProfile, WeightsOrigin
from export.spec import ExportSpec
from export.verify.cases import Pair
from training.int8.ranges import Equalisation
from training.networks.layers import FlowNetwork

Precision = Literal["fp32", "fp16", "int8"]


@dataclass(frozen=True)
class Quantisation:
    """What decides an int8 build.

    Attributes:
        calibration: pairs that the activations' ranges are taken from; None where training found
            them, in `Request.equalisation`.
        calibration_name: what the manifest calls them.
        gate: sets of pairs with known flow, by name, on which the error may not rise too much.
        max_epe_increase: by how much it may, relative to fp32: 0.01 is 1 %.
    """

    calibration: Sequence[Pair] | None
    calibration_name: str
    gate: Mapping[str, Sequence[Pair]]
    max_epe_increase: float


@dataclass(frozen=True)
class Request:
    """Everything that decides what is built.

    Attributes:
        name: name of the network.
        network: the network in fp32, with its weights.
        normalisation: the module that its weights were trained behind.
        origin: where the weights come from.
        spec: how the network is exported.
        precision: what the graph computes in.
        profile: sizes that TensorRT optimises for, and that every backend is verified within.
        targets: of "onnxruntime", "openvino", "tensorrt".
        split: whether ONNX Runtime and OpenVINO get two graphs, so that `engine.stream` computes
            the features of each frame once. The network has to be a `SiameseNetwork`.
        correlation: how the TensorRT plan computes the correlation, one of
            `export.tensorrt.correlation_form.FORMS`.
        equalisation: what the weights were trained to be rounded by in int8, None where they were
            not.
        quantisation: what int8 needs, None in other precisions.
    """

    name: str
    network: FlowNetwork
    normalisation: nn.Module
    origin: WeightsOrigin
    spec: ExportSpec
    precision: Precision
    profile: SizeProfile
    targets: tuple[str, ...]
    split: bool = False
    correlation: str = "onnx"
    equalisation: Equalisation | None = None
    quantisation: Quantisation | None = None
