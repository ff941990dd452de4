"""The base of the backend decorators."""

from typing import Any

from engine.backends.base import Backend, Images


class BackendDecorator:
    """A backend around another one, with its attributes; subclasses define ``run``.

    Nothing is prepared for a single image unless a subclass does.
    """

    def __init__(self, backend: Backend, addition: str) -> None:
        """Take ownership of a backend; ``addition`` says in the name what is added to it."""
        self._backend = backend
        self.name = f"{backend.name} ({addition})"
        self.device = backend.device
        self.runtime_version = backend.runtime_version
        self.arithmetic = backend.arithmetic
        self.profile = backend.profile

    def network_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the largest (height, width) that the runtime gets for images of this size."""
        return network_size(self._backend, size)

    def prepare(self, image: Images) -> Any:
        """See ``Backend.prepare``; return the image itself."""
        return image

    def device_ms(self) -> float | None:
        """See ``Backend.device_ms``; the time of the decorated backend's last ``run`` alone."""
        return self._backend.device_ms()

    def close(self) -> None:
        """See ``Backend.close``."""
        self._backend.close()


def network_size(backend: Backend, size: tuple[int, int]) -> tuple[int, int]:
    """Return the largest (height, width) that the runtime gets for padded images of this size."""
    return backend.network_size(size) if isinstance(backend, BackendDecorator) else size
