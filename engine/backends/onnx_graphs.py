"""A bundle's ONNX: one graph from two images to the flow, or two graphs that share the work.

With two graphs (``build_engine --split``, for networks that first look at each image alone), what
``features.onnx`` computes from a frame of a video serves both pairs that the frame is in.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.backends.registry import model_file
from engine.bundle.manifest import Manifest, SizeProfile

WHOLE = "model.onnx"
FEATURES, MATCH = SPLIT = ("features.onnx", "match.onnx")

Arrays = Mapping[str, NDArray[Any]]
# Runs a model: arrays by the names of its inputs -> arrays by the names of its outputs, in memory
# that the caller owns. May be called from several threads at once.
Model = Callable[[Arrays], Arrays]


class Graphs(Protocol):
    """See ``Backend.prepare`` and ``Backend.run``."""

    def prepare(self, image: NDArray[np.uint8]) -> Any:
        """Compute what concerns one image alone."""
        ...

    def run(self, first: Any, second: Any) -> NDArray[np.float32]:
        """Compute the flow of two prepared images."""
        ...


class OneGraph:
    """Both images go in together; nothing can be prepared."""

    def __init__(self, model: Model) -> None:
        """Take over ``model.onnx``, opened."""
        self._model = model

    def prepare(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the image."""
        return image

    def run(self, first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See ``Backend.run``."""
        return self._model({"image1": first, "image2": second})["flow"]


class TwoGraphs:
    """Each image's features first, then both images' features together."""

    def __init__(self, features: Model, match: Model) -> None:
        """Take over ``features.onnx`` and ``match.onnx``, opened."""
        self._features = features
        self._match = match

    def prepare(self, image: NDArray[np.uint8]) -> Arrays:
        """Return the image's ``skip`` and ``features``."""
        return self._features({"image": image})

    def run(self, first: Arrays, second: Arrays) -> NDArray[np.float32]:
        """See ``Backend.run``."""
        inputs = {
            "skip": first["skip"],
            "features1": first["features"],
            "features2": second["features"],
        }
        return self._match(inputs)["flow"]


class GraphsBackend:
    """What the backends of CPU runtimes have in common: a ``Backend`` but for how it is opened."""

    device = "cpu"
    profile: SizeProfile | None = None
    graphs: Graphs

    def prepare(self, image: NDArray[np.uint8]) -> Any:
        """See ``Backend.prepare``."""
        return self.graphs.prepare(image)

    def run(self, first: Any, second: Any) -> NDArray[np.float32]:
        """See ``Backend.run``."""
        return self.graphs.run(first, second)

    def device_ms(self) -> None:
        """Return None: the host is the device."""

    def close(self) -> None:
        """Free the models."""
        del self.graphs


def open_graphs(
    bundle: Path, manifest: Manifest, backend: str, open_model: Callable[[Path], Model]
) -> Graphs:
    """Open whichever of the two a bundle holds.

    Args:
        bundle: its folder.
        manifest: what it holds.
        backend: name of the backend, for errors.
        open_model: opens one ONNX file.

    Raises:
        BackendError: It holds neither.
    """
    if all(name in manifest.files for name in SPLIT):
        return TwoGraphs(*(open_model(bundle / name) for name in SPLIT))
    return OneGraph(open_model(model_file(bundle, manifest, WHOLE, backend)))
