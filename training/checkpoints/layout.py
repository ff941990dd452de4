"""How a code base stores networks: under which names, and what else differs from this project's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]


@dataclass(frozen=True)
class Origin:
    """How one tensor of a network here is computed from those of a file.

    Attributes:
        tensors: names in the file -> shapes.
        compute: takes the tensors in this order.
        rule: what happens, for the report; "" if the tensor is taken as it is.
    """

    tensors: Shapes
    compute: Callable[..., Tensor]
    rule: str = ""


Origins = dict[str, Origin]


def same(tensor: Tensor) -> Tensor:
    """Return the tensor."""
    return tensor


def named_alike(shapes: Shapes) -> Origins:
    """Take every tensor as it is, under its own name."""
    return {name: Origin({name: shape}, same) for name, shape in shapes.items()}


def zeros(shape: Shape, rule: str) -> Origin:
    """Return the origin of a tensor that the file does not have and which is zero."""
    return Origin({}, lambda: torch.zeros(shape), rule)


@dataclass(frozen=True)
class Layout:
    """A code base's way to store networks.

    Attributes:
        publisher: the repository.
        networks: names in the registry.
        normalisation: a key of `training.normalise.NORMALISATIONS`.
        licence: of the weights that the publisher has trained or converted.
        origins: from a network's name and the shapes of its tensors to the origin of each.
        colours: order of the channels that its networks read; BGR is folded into the first
            convolutions.
        bgr_files: what the names of its files have whose networks read BGR; "": none.
        is_own: these are files of this project.
        ignored: regular expressions of names that a file may have and that are not needed.
        notes: by network, or "" for the others: what the publisher's code does otherwise.
        upsampling: by network: how its flow is brought to the images' size, if not as here.
    """

    publisher: str
    networks: tuple[str, ...]
    normalisation: str
    licence: str
    origins: Callable[[str, Shapes], Origins]
    colours: str = "RGB"
    bgr_files: str = ""
    is_own: bool = False
    ignored: tuple[str, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)
    upsampling: Mapping[str, str] = field(default_factory=dict)

    @property
    def source(self) -> str:
        """What implies a fact that nobody states."""
        return "its header" if self.is_own else "the layout"

    def note(self, network: str) -> str:
        """Return what the publisher's code does otherwise for a network, or ""."""
        return self.notes.get(network, self.notes.get("", ""))
