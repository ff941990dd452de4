"""Variational refinement of the flow, the "+v" of the FlowNet paper: `engine.refinement`."""

import logging
from typing import Any, NamedTuple

from engine import refinement
from engine.backends.base import Backend, Flows, Images
from engine.decorators.base import BackendDecorator

_log = logging.getLogger("engine")


class _Prepared(NamedTuple):
    pixels: Images
    image: Any


class VariationalBackend(BackendDecorator):
    """Backend decorator that refines the flow by a variational method."""

    def __init__(self, backend: Backend, threads: int) -> None:
        """Take ownership of a backend.

        Args:
            backend: the backend.
            threads: number of threads of a pair.
        """
        super().__init__(backend, "refined")
        self._threads = threads
        if fault := refinement.fault():
            _log.warning(
                "refine='variational' is computed in numpy, which takes longer than the network: "
                "%s. refine='none' leaves it out.",
                fault,
            )

    def prepare(self, image: Images) -> _Prepared:
        """See ``Backend.prepare``."""
        return _Prepared(image, self._backend.prepare(image))

    def run(self, first: _Prepared, second: _Prepared) -> Flows:
        """See ``Backend.run``."""
        flows = self._backend.run(first.image, second.image)
        return refinement.refined_batch(first.pixels, second.pixels, flows, threads=self._threads)
