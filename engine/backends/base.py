"""The interface of a backend: one runtime with one bundle loaded."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from engine.bundle.manifest import SizeProfile
from engine.cuda.flow_array import DeviceArray
from engine.cuda.foreign_arrays import CallerStream, DeviceView
from engine.flow.affine import Affine

# Tensors of a whole network.
INPUTS = ("image1", "image2")
OUTPUT = "flow"

Images = NDArray[np.uint8]
Flows = NDArray[np.float32]


class Backend(Protocol):
    """A runtime with a bundle loaded. ``FlowEngine`` checks and pads all inputs.

    ``prepare`` and ``run`` may be called from several threads at once.

    Attributes:
        name: key in ``engine.backends.registry.BACKENDS``.
        device: ``"cpu"``, or for instance ``"cuda:0"``.
        runtime_version: version of the runtime.
        arithmetic: what it computes in, and why where that is not the bundle's precision, as
            ``"int8, with VNNI"``; then what it lacks, which makes it slower.
        profile: limits of the padded sizes; None: any multiple of the bundle's divisor.
    """

    name: str
    device: str
    runtime_version: str
    arithmetic: str
    profile: SizeProfile | None

    def prepare(self, image: Images) -> Any:
        """Compute what depends on one image alone, for every pair that contains the image.

        Args:
            image: (N, H, W, 3) uint8 RGB, C-contiguous; H and W are multiples of the divisor.

        Returns:
            An argument of ``run``: the image's features, which are no array, or the image itself.
        """
        ...

    def run(self, first: Any, second: Any) -> Flows:
        """Return the flow (N, H, W, 2) float32 in pixels, x then y, in memory of the caller.

        Args:
            first: the first image, prepared.
            second: the second image, prepared.
        """
        ...

    def device_ms(self) -> float | None:
        """Run the last inputs again, already on the device.

        Returns:
            Milliseconds; None on a CPU, and before the first ``run``.
        """
        ...

    def close(self) -> None:
        """Free the model. No other method is called afterwards."""
        ...


@runtime_checkable
class DeviceBackend(Protocol):
    """A ``Backend`` that also reads images on its GPU in place."""

    def run_device(
        self,
        first: DeviceView,
        second: DeviceView,
        size: tuple[int, int],
        *,
        out: DeviceView | None,
        stream: CallerStream | None,
    ) -> DeviceArray:
        """Return the flow of two images; see ``FlowEngine.infer_device``.

        Args:
            first: the first image, from ``image_view``.
            second: the second image, of the same shape.
            size: (height, width) to pad to.
            out: where to write the flow, from ``flow_view``; None: allocate it.
            stream: the stream that orders the work; None: wait for the flow.

        Raises:
            InputError: an array is not on this GPU.
            BackendError: the GPU or the runtime failed.
        """
        ...


class RunsFrom(Protocol):
    """Computes flows from initial flows."""

    def run_from(self, start: Flows | None, first: Any, second: Any) -> tuple[Flows, Flows]:
        """Return the flow as ``Backend.run``, and the flow before its upsampling.

        Args:
            start: initial flow (N, h, w, 2) in pixels of its own resolution; None: no motion.
            first: the first image, prepared.
            second: the second image, prepared.
        """
        ...


@runtime_checkable
class RecurrentBackend(Protocol):
    """A ``Backend`` of a runtime that can start from a flow."""

    @property
    def recurrent(self) -> RunsFrom | None:
        """The graphs that start from a flow; None where the bundle's do not."""
        ...


@runtime_checkable
class MotionBackend(Protocol):
    """A ``Backend`` that compensates global motion, and takes it where it is known."""

    def run_with_motion(self, motion: Affine | None, first: Any, second: Any) -> Flows:
        """Return the flow as ``Backend.run``.

        Args:
            motion: (2, 3) matrix from the first to the second image in pixels, see
                `engine.flow.affine`, for all pairs of a batch; None: estimate it.
            first: the first image, prepared.
            second: the second image, prepared.
        """
        ...
