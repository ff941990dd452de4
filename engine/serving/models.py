"""The two models that the server offers, named and shaped as `export.triton` writes them."""

from dataclasses import dataclass
from typing import Any

from engine.serving.errors import RequestError

VERSION = "1"
FLOW = "flow"
PLATFORM = "flownet_engine"


@dataclass(frozen=True)
class Model:
    """A model of the protocol: UINT8 images in, FP32 flow out.

    Attributes:
        name: its name.
        inputs: names of its images, each (N, H, W, 3).
        is_sequence: whether it takes the frames of a sequence, one a request.
    """

    name: str
    inputs: tuple[str, ...]
    is_sequence: bool

    def metadata(self) -> dict[str, Any]:
        """Return the protocol's description of the model."""
        images = [_tensor(name, "UINT8", 3) for name in self.inputs]
        return {
            "name": self.name,
            "versions": [VERSION],
            "platform": PLATFORM,
            "inputs": images,
            "outputs": [_tensor(FLOW, "FP32", 2)],
        }


PAIR = Model("flow_pair", ("image1", "image2"), is_sequence=False)
STREAM = Model("flow_stream", ("image",), is_sequence=True)
MODELS = {model.name: model for model in (PAIR, STREAM)}


def model_named(name: str, version: str = VERSION) -> Model:
    """Return a model; ``RequestError`` if there is none of this name and version."""
    if name not in MODELS:
        raise RequestError(404, f"there is no model {name!r:.80}; expected {' or '.join(MODELS)}.")
    if version != VERSION:
        raise RequestError(
            404, f"{name} has no version {version!r:.40}; expected {VERSION}, or none in the path."
        )
    return MODELS[name]


def _tensor(name: str, datatype: str, channels: int) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [-1, -1, -1, channels]}
