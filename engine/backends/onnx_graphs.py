"""The ONNX graphs of a bundle: one for the whole network, or two that share work between pairs.

A bundle built with ``build_engine --split`` has two graphs: ``features.onnx`` computes the features
of one image, ``match.onnx`` the flow from the features of both. In a video the features of each
frame then serve two pairs.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.backends.base import INPUTS, OUTPUT, Flows, Images
from engine.backends.flow_check import check_flow
from engine.backends.model_files import model_file
from engine.bundle.manifest import Manifest, SizeProfile

WHOLE = "model.onnx"
FEATURES, MATCH = SPLIT = ("features.onnx", "match.onnx")
# Of a recurrent network: the initializer with the number of its updates; what ``match.onnx`` starts
# from and ends with, at the features' resolution.
ITERATIONS, INITIAL_FLOW, COARSE_FLOW = "iterations", "initial_flow", "coarse_flow"
# Key of a file's metadata: which of its standard operators compute one of this project's operators
# (kernels/openvino/operators.h). A line for each time: the operator's name, its inputs, its output.
OPERATORS = "operators"

Arrays = Mapping[str, NDArray[Any]]
# Runs a model: arrays by input name -> arrays by output name, in memory that the caller owns.
# Thread-safe.
Model = Callable[[Arrays], Arrays]


class Graphs(Protocol):
    """The opened graphs of a bundle."""

    def prepare(self, image: Images) -> Any:
        """See ``Backend.prepare``."""
        ...

    def run(self, first: Any, second: Any) -> Flows:
        """See ``Backend.run``."""
        ...


class OneGraph:
    """``model.onnx`` takes both images, so ``prepare`` has nothing to compute."""

    def __init__(self, model: Model) -> None:
        """Use ``model.onnx``, opened."""
        self._model = model

    def prepare(self, image: Images) -> Images:
        """Return the image."""
        return image

    def run(self, first: Images, second: Images) -> Flows:
        """See ``Backend.run``."""
        flow = self._model(dict(zip(INPUTS, (first, second), strict=True)))[OUTPUT]
        check_flow(flow, first.shape)
        return flow


class Features(NamedTuple):
    """What ``features.onnx`` computes of images.

    Attributes:
        arrays: ``skip`` and ``features``.
        shape: shape of the images.
    """

    arrays: Arrays
    shape: tuple[int, ...]


class TwoGraphs:
    """``features.onnx`` prepares each image, ``match.onnx`` computes the flow of two of them."""

    def __init__(self, features: Model, match: Model) -> None:
        """Use ``features.onnx`` and ``match.onnx``, opened."""
        self._features = features
        self._match = match

    def prepare(self, image: Images) -> Features:
        """Return the features of the image."""
        return Features(self._features({"image": image}), image.shape)

    def run(self, first: Features, second: Features) -> Flows:
        """See ``Backend.run``."""
        return self._matched(first, second, {})[OUTPUT]

    def _matched(self, first: Features, second: Features, more: Arrays) -> Arrays:
        """Return the outputs of ``match.onnx``, with a flow that is checked."""
        images = {
            "skip": first.arrays["skip"],
            "features1": first.arrays["features"],
            "features2": second.arrays["features"],
        }
        outputs = self._match({**images, **more})
        check_flow(outputs[OUTPUT], first.shape)
        return outputs


class RecurrentGraphs(TwoGraphs):
    """The two graphs of a recurrent network: ``match.onnx`` starts from a flow."""

    def run(self, first: Features, second: Features) -> Flows:
        """See ``Backend.run``."""
        return self.run_from(None, first, second)[0]

    def run_from(
        self, start: Flows | None, first: Features, second: Features
    ) -> tuple[Flows, Flows]:
        """See ``RunsFrom``."""
        coarse = first.arrays["features"].shape[:3]
        if start is None:
            start = np.zeros((*coarse, 2), np.float32)
        outputs = self._matched(first, second, {INITIAL_FLOW: start})
        check_flow(outputs[COARSE_FLOW], coarse)
        return outputs[OUTPUT], outputs[COARSE_FLOW]


class CpuBackend:
    """Base of the CPU backends: a ``Backend`` whose subclass opens ``graphs``."""

    device = "cpu"
    arithmetic: str
    profile: SizeProfile | None = None
    graphs: Graphs

    def prepare(self, image: Images) -> Any:
        """See ``Backend.prepare``."""
        return self.graphs.prepare(image)

    def run(self, first: Any, second: Any) -> Flows:
        """See ``Backend.run``."""
        return self.graphs.run(first, second)

    @property
    def recurrent(self) -> RecurrentGraphs | None:
        """See ``RecurrentBackend``."""
        return self.graphs if isinstance(self.graphs, RecurrentGraphs) else None

    def device_ms(self) -> None:
        """Return None: there is no separate device."""

    def close(self) -> None:
        """Free the models."""
        del self.graphs


def open_graphs(
    bundle: Path, manifest: Manifest, backend: str, open_model: Callable[[Path], Model]
) -> Graphs:
    """Open the two graphs of a split bundle, else the graph of the whole network.

    Args:
        bundle: the bundle's folder.
        manifest: the bundle's manifest.
        backend: name of the backend, for the error message.
        open_model: opens one ONNX file.

    Raises:
        BackendError: the bundle contains neither.
    """
    if all(name in manifest.files for name in SPLIT):
        features, match = (open_model(bundle / name) for name in SPLIT)
        kind = TwoGraphs if manifest.recurrence is None else RecurrentGraphs
        return kind(features, match)
    return OneGraph(open_model(model_file(bundle, manifest, WHOLE, backend)))
