"""Variational refinement of the flow by OpenCV, the "+v" of the FlowNet paper.

``cv2.VariationalRefinement`` minimises the energy of Brox et al. (ECCV 2004), gradient constancy
and smoothness, starting from the network's flow. It makes small errors smaller and leaves large
ones. It runs at half the images' size, where it takes a quarter of the time, and the change that
it found is added to the flow: details of the flow finer than two pixels stay.
"""

from typing import Any, NamedTuple

import numpy as np

from engine.backends.base import Backend, Flows, Images
from engine.decorators.base import BackendDecorator
from engine.images.files import import_opencv
from engine.types import Array

# Chosen on 26 pairs of public data sets, for networks whose flow is at 1/4 of the resolution
# (docs/experiments.md). Brightness constancy (delta) adds nothing to that of gradients, which also
# holds when the light changes. SOR converges below a relaxation of 2.
_BRIGHTNESS_WEIGHT = 0.0
_RELAXATION = 1.9
# Each round warps the second image by the flow so far, and is linear from there. OpenCV's 5
# iterations of the weights take twice the time for 0.6 % less error.
_ROUNDS, _ITERATIONS = 2, 2


class _Prepared(NamedTuple):
    grey: list[Array]
    image: Any


class VariationalBackend(BackendDecorator):
    """Backend decorator that refines the flow by a variational method."""

    def __init__(self, backend: Backend) -> None:
        """Take ownership of a backend."""
        super().__init__(backend, "refined")
        self._cv2 = import_opencv("refine='variational'")

    def prepare(self, image: Images) -> _Prepared:
        """See ``Backend.prepare``; also halves the grey images, once for all pairs."""
        grey = [self._halved(self._cv2.cvtColor(one, self._cv2.COLOR_RGB2GRAY)) for one in image]
        return _Prepared(grey, self._backend.prepare(image))

    def run(self, first: _Prepared, second: _Prepared) -> Flows:
        """See ``Backend.run``."""
        flows = self._backend.run(first.image, second.image)
        pairs = zip(first.grey, second.grey, flows, strict=True)
        return np.stack([self._refined(one, two, flow) for one, two, flow in pairs])

    def _refined(self, first: Array, second: Array, flow: Array) -> Array:
        """Return the refined flow, (H, W, 2); the grey images are halved."""
        # It has buffers for one pair at a time, and this may run in several threads.
        refinement = self._cv2.VariationalRefinement_create()
        refinement.setDelta(_BRIGHTNESS_WEIGHT)
        refinement.setOmega(_RELAXATION)
        refinement.setFixedPointIterations(_ITERATIONS)
        (height, width), (half_height, half_width) = flow.shape[:2], first.shape
        scale = np.array((half_width / width, half_height / height), np.float32)
        before = self._halved(flow) * scale
        after = before.copy()
        for _ in range(_ROUNDS):
            after = refinement.calc(first, second, after)
        change = (after - before) / scale
        refined: Array = flow + self._cv2.resize(change, (width, height))
        return refined

    def _halved(self, image: Array) -> Array:
        height, width = image.shape[:2]
        size = (-(-width // 2), -(-height // 2))
        halved: Array = self._cv2.resize(image, size, interpolation=self._cv2.INTER_AREA)
        return halved
