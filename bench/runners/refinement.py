"""The refinement that ``engine.load`` adds to a bundle's flow, for runners that do not use it."""

from bench.harness.worker import Flows, Images
from engine import refinement
from engine.backends.base import Backend
from engine.bundle.manifest import Manifest
from engine.bundle.schema import Refine
from engine.decorators.variational import VariationalBackend


def refined_flows(
    refine: Refine | None, image1: Images, image2: Images, flows: Flows, threads: int
) -> Flows:
    """Refine the flows (N, H, W, 2) of the pairs (N, H, W, 3) if it is asked for."""
    if refine is None:
        return flows
    return refinement.refined_batch(image1, image2, flows, threads=threads)


def refined_backend(backend: Backend, manifest: Manifest, threads: int) -> Backend:
    """Return a backend that refines its flow if the bundle asks for it."""
    return backend if manifest.refine is None else VariationalBackend(backend, threads)
