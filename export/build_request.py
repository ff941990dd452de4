"""The build request: everything that decides what is built, resolved before building."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from engine.bundle.manifest import SizeProfile, WeightsOrigin
from engine.bundle.schema import Refine
from engine.data.pair import Pair
from training.networks.entry import NetworkEntry
from training.networks.layers import FlowNetwork

Precision = Literal["fp32", "fp16", "int8"]


@dataclass(frozen=True)
class Quantisation:
    """Calibration and accuracy gate of an int8 build.

    Attributes:
        calibration: pairs to calibrate on.
        calibration_name: their name in the manifest.
        gate: sets of pairs with true flow, by name, to measure the end-point error on.
        max_epe_increase: largest accepted increase of the error on each set, relative to fp32:
            0.01 is 1 %.
    """

    calibration: Sequence[Pair]
    calibration_name: str
    gate: Mapping[str, Sequence[Pair]]
    max_epe_increase: float


@dataclass(frozen=True)
class Request:
    """Everything that decides what is built.

    Attributes:
        name: name of the network.
        network: the network in fp32, with its weights.
        normalisation: the image normalisation that the weights were trained with.
        origin: provenance of the weights.
        entry: what the registry declares about the network.
        precision: precision of the graph.
        profile: sizes that TensorRT optimises for, and that every backend is verified within.
        targets: of "onnxruntime", "openvino", "tensorrt".
        split: whether ONNX Runtime and OpenVINO get two graphs, so that `FlowEngine.stream`
            computes the features of each frame once; needs a `SiameseNetwork`.
        correlation: how the TensorRT plan computes the correlation, one of
            `export.tensorrt.correlation_form.FORMS`.
        lookup: how a recurrent network's updates get correlations; None for other networks.
        refine: how the engine refines the flow, unless `engine.load` says otherwise.
        quantisation: set for int8 only.
    """

    name: str
    network: FlowNetwork
    normalisation: nn.Module
    origin: WeightsOrigin
    entry: NetworkEntry
    precision: Precision
    profile: SizeProfile
    targets: tuple[str, ...]
    split: bool = False
    correlation: str = "onnx"
    lookup: str | None = None
    refine: Refine | None = None
    quantisation: Quantisation | None = None
