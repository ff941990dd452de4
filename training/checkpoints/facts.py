"""Facts about a network that its tensors do not show: unit of the flow, colours, normalisation.

What the user states counts first, then what the file says, then what its layout implies. A fact
that cannot be read, or that contradicts another one, is an error: a guess would change the flow.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from torch import Tensor

from training.checkpoints.files import Contents
from training.checkpoints.layout import Layout
from training.checkpoints.mmcv_config import color_of, normalisation_of, settings
from training.checkpoints.own import check_stated
from training.checkpoints.stated import Stated
from training.checkpoints.unpickling import LeftOut
from training.checkpoints.words import shown

_SCALES = (1e-3, 1e4)  # a factor beyond these leaves nothing of float16 weights
# Networks whose heads and upsampling layers alone have the unit of the flow.
_RESCALED = ("flownets", "flownetc", "flownetsd")
# FlowNet2 predicts pixels, the networks inside of it pixels divided by this.
_INSIDE_FLOWNET2 = 20.0
# Where training programs keep their options, and the options in turn.
_PLACES = ("hyper_parameters", "hparams", "args")
# What the training programs of FlowNetPytorch and flownet2-pytorch store under "arch": publisher
# of the layout, and network.
_ARCHITECTURES = {
    "flownets": ("ClementPinard/FlowNetPytorch", "flownets"),
    "flownets_bn": ("ClementPinard/FlowNetPytorch, batch norm", "flownets"),
    "flownetc": ("ClementPinard/FlowNetPytorch", "flownetc"),
    "flownetc_bn": ("ClementPinard/FlowNetPytorch, batch norm", "flownetc"),
    "FlowNet2": ("NVIDIA/flownet2-pytorch", "flownet2"),
    "FlowNet2C": ("NVIDIA/flownet2-pytorch", "flownetc"),
    "FlowNet2S": ("NVIDIA/flownet2-pytorch", "flownets"),
    "FlowNet2SD": ("NVIDIA/flownet2-pytorch", "flownetsd"),
    "FlowNet2CS": ("NVIDIA/flownet2-pytorch", "flownetcs"),
    "FlowNet2CSS": ("NVIDIA/flownet2-pytorch", "flownetcss"),
}


@dataclass(frozen=True)
class Fact:
    """A fact, and where it is from: an option, an entry of the file, or its layout."""

    value: Any
    source: str

    def __str__(self) -> str:
        """Return both in words."""
        value = f"{self.value:g}" if isinstance(self.value, float) else self.value
        return f"{value} ({self.source})"


@dataclass(frozen=True)
class Facts:
    """What a network was taken to be; names as in `Stated`."""

    flow_scale: Fact
    normalisation: Fact
    color: Fact

    def in_words(self) -> dict[str, str]:
        """Return each fact with its source, for a manifest."""
        return {name: str(fact) for name, fact in vars(self).items()}


@dataclass(frozen=True)
class _Entry:
    """An entry of files that says a fact.

    Attributes:
        fact: which one.
        read: returns it; raises TypeError or ValueError for a value that is none.
        expected: for messages.
        option: that states it instead.
    """

    fact: str
    read: Callable[[Any], Any]
    expected: str
    option: str


def _scale(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError
    if isinstance(value, Tensor):
        value = value.item()
    number = float(value)
    if not _SCALES[0] <= number <= _SCALES[1]:  # nor NaN
        raise ValueError
    return number


def _architecture(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


_FLOW_SCALE = _Entry(
    "flow_scale", _scale, f"a number from {_SCALES[0]:g} to {_SCALES[1]:g}", "--flow-scale"
)
# By name of the entry. FlowNetPytorch, main.py (the first and "arch"); flownet2-pytorch, main.py
# ("arch"); ptlflow, flownet_base.py ("div_flow", among its options); the rest: mmflow's.
_ENTRIES = {
    "div_flow": _FLOW_SCALE,
    "flow_div": _FLOW_SCALE,
    "to_rgb": _Entry("color", color_of, "True or False", "--color"),
    "mean and std": _Entry(
        "normalisation", normalisation_of, "0 and 255, or 127.5 and 127.5", "--normalisation"
    ),
    "arch": _Entry("arch", _architecture, "the name of a network", "--normalisation"),
}


@dataclass(frozen=True)
class Implied:
    """What follows from the tensors alone.

    Attributes:
        layout: the layout of their names.
        network: name in the registry.
        flow_scale: that of this network here.
    """

    layout: Layout
    network: str
    flow_scale: float


def facts_of(contents: Contents, own: Implied, stated: Stated) -> Facts:
    """Return what a network of a file is to be taken for.

    Args:
        contents: the file.
        own: what its tensors show.
        stated: what the user states.

    Raises:
        ValueError: the file says what cannot be read or be true, or an option does not apply.
    """
    layout = own.layout
    if layout.is_own:
        check_stated(stated)
    overridden = {entry for entry, it in _ENTRIES.items() if _is_stated(it, stated)}
    if _plain(own.network) not in _RESCALED:
        overridden.add("flow_div")  # FlowNet2 has one for each of its networks
    said = _said(contents.facts, overridden)
    if "arch" in said:
        _check_architecture(said["arch"], layout.publisher, own.network)
    return Facts(
        flow_scale=_flow_scale(said, own, stated),
        normalisation=_first(stated.normalisation, "--normalisation")
        or said.get("normalisation")
        or Fact(layout.normalisation, layout.source),
        color=_color(contents.name, layout, stated, said),
    )


def _is_stated(entry: _Entry, stated: Stated) -> bool:
    name = entry.option.removeprefix("--").replace("-", "_")
    return getattr(stated, name) is not None


def _said(content: Mapping[str, Any], left_out: set[str]) -> dict[str, Fact]:
    """Return the facts that a file says, without some entries."""
    said: dict[str, Fact] = {}
    for place, options in chain(_options(content, ""), settings(content)):
        for name in _ENTRIES.keys() & options.keys() - left_out:
            entry, source = _ENTRIES[name], f"{place}{name} in the file"
            try:
                fact = Fact(entry.read(options[name]), source)
            except (TypeError, ValueError, OverflowError, RuntimeError) as error:
                raise ValueError(
                    f"its {place}{name} is {_described(options[name])}; expected {entry.expected}: "
                    f"state it with {entry.option}"
                ) from error
            other = said.setdefault(entry.fact, fact)
            if other.value != fact.value:
                raise ValueError(
                    f"its {place}{name} is {shown(fact.value)}, and {other.source} says "
                    f"{shown(other.value)}: state the right one with {entry.option}"
                )
    return said


def _options(content: Mapping[str, Any], place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield a mapping and those below it, each with its place, for example "args."."""
    yield place, content
    if place.count(".") == len(_PLACES):
        return
    for name in _PLACES:
        below = content.get(name)
        below = below.attributes if isinstance(below, LeftOut) else below
        if isinstance(below, Mapping):
            yield from _options(below, f"{place}{name}.")


def _described(value: Any) -> str:
    if isinstance(value, LeftOut):
        return "of a class that is not read"
    if isinstance(value, Tensor):
        return f"a tensor of {value.numel()} values"
    return (
        shown(repr(value)) if isinstance(value, str | int | float) else f"a {type(value).__name__}"
    )


def _first(value: Any, source: str) -> Fact | None:
    return None if value is None else Fact(value, source)


def _check_architecture(arch: Fact, publisher: str, network: str) -> None:
    """Check that the program that a file names wrote such tensors."""
    known = _ARCHITECTURES.get(arch.value)
    if known is None or publisher not in {publisher for publisher, _ in _ARCHITECTURES.values()}:
        return
    if known != (publisher, _plain(network)):
        raise ValueError(
            f"{arch.source} is {arch.value!r}, a {known[1]} of {known[0]}, and its tensors are "
            f"those of a {network} of {publisher}; expected one network: find out which images it "
            "was trained on, and state --normalisation"
        )


def _flow_scale(said: Mapping[str, Fact], own: Implied, stated: Stated) -> Fact:
    implied = Fact(own.flow_scale, own.layout.source)
    found = _first(stated.flow_scale, "--flow-scale") or said.get("flow_scale") or implied
    if found.value == own.flow_scale:
        return found
    if own.network == "flownet2" and found.value == _INSIDE_FLOWNET2:
        return implied
    if _plain(own.network) not in _RESCALED:
        raise ValueError(
            f"{found.source} is {found.value:g}; expected {own.flow_scale:g}, as the flow of "
            f"{own.network} cannot be rescaled: if the file is wrong, give --flow-scale "
            f"{own.flow_scale:g}"
        )
    return found


def _plain(network: str) -> str:
    return network.removesuffix("_slim")


def _color(file: str, layout: Layout, stated: Stated, said: Mapping[str, Fact]) -> Fact:
    found = _first(stated.color, "--color") or said.get("color")
    if found is None and layout.bgr_files and layout.bgr_files in file:
        return Fact("BGR", "the file's name")
    return found or Fact(layout.colours, layout.source)
