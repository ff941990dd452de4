"""What a checkpoint says beside its tensors, what options say, and the flow that follows.

The truth is `flownets_twin`, FlowNetPytorch's FlowNetS written once more.
"""

import functools
import re
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from export.graph.deployable import Deployable
from export.options import parse
from export.resolve import resolve
from tests.support.reference import reference_images
from tests.training.checkpoints.flownets_twin import WIDTH, State, pinard_flow, pinard_state
from tests.training.checkpoints.test_layouts import contents_of
from training.checkpoints import recognise as recognising
from training.checkpoints.recognise import Match, recognise
from training.checkpoints.stated import Stated
from training.networks import NETWORKS
from training.networks.flownets import FlowNetS
from training.normalise import NORMALISATIONS
from training.weights import FACTS, Weights, facts_in, load_weights, network_from_weights

IMAGES = torch.from_numpy(np.stack(reference_images(64, 128)))
LAYOUT = "the layout"


@pytest.fixture(autouse=True, scope="module")
def narrow() -> Iterator[None]:
    """The network "flownets" with 1/16 of its channels."""
    entry = replace(NETWORKS["flownets"], build=lambda: FlowNetS(width=WIDTH))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "flownets", entry)
        recognising.properties_of.cache_clear()
        yield
    recognising.properties_of.cache_clear()


@functools.cache
def state_of(arch: str) -> State:
    return pinard_state(batch_norm=arch == "flownets_bn")


def flow_of(weights: Weights) -> Tensor:
    """As a bundle computes it."""
    network = network_from_weights(weights.metadata["network"], weights)
    normalisation = NORMALISATIONS[weights.metadata["normalisation"]]()
    with torch.inference_mode():
        return Deployable(network, normalisation)(IMAGES[:1], IMAGES[1:])


def assert_flow(weights: Weights, state: State, *, scale: float = 20.0, bgr: bool = False) -> None:
    expected = pinard_flow(state, IMAGES, scale=scale, bgr=bgr).numpy()
    atol = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(flow_of(weights).numpy(), expected, rtol=0, atol=atol)


def saved(path: Path, state: State, **facts: object) -> Path:
    torch.save({"epoch": 3, "state_dict": state, **facts}, path)
    return path


@pytest.mark.parametrize("arch", ["flownets", "flownets_bn"])
@pytest.mark.parametrize(
    ("facts", "scale", "source"),
    [
        ({}, 20, LAYOUT),
        ({"div_flow": 1}, 1, "div_flow in the file"),
        ({"div_flow": "7.5"}, 7.5, "div_flow in the file"),
        ({"div_flow": torch.tensor(40.0)}, 40, "div_flow in the file"),
        ({"hyper_parameters": {"args": Namespace(div_flow=5.0)}}, 5,
         "hyper_parameters.args.div_flow in the file"),
    ],
)  # fmt: skip
def test_unit_of_the_flow(
    tmp_path: Path, arch: str, facts: dict[str, Any], scale: float,
    source: str,
) -> None:  # fmt: skip
    if "hyper_parameters" in facts:
        facts = {"args": facts["hyper_parameters"]["args"]}  # not a Lightning file
        source = source.removeprefix("hyper_parameters.")
    weights = load_weights(saved(tmp_path / "x.pth", state_of(arch), arch=arch, **facts))
    assert_flow(weights, state_of(arch), scale=scale)
    assert facts_in(tmp_path, weights.metadata)["flow_scale"] == f"{scale:g} ({source})"


def test_options_override_the_file(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.pth", state_of("flownets"), div_flow=float("nan"))
    weights = load_weights(path, stated=Stated(flow_scale=3.0, color="BGR"))
    assert_flow(weights, state_of("flownets"), scale=3, bgr=True)
    assert facts_in(path, weights.metadata) == {
        "flow_scale": "3 (--flow-scale)",
        "normalisation": f"fixed_mean ({LAYOUT})",
        "color": "BGR (--color)",
    }
    weights = load_weights(path, stated=Stated(20.0, "zero_to_one"))
    assert weights.metadata["normalisation"] == "zero_to_one"


@pytest.mark.parametrize(
    ("name", "color", "bgr"),
    [
        ("flownets_from_caffe.pth", None, True),
        ("flownets_from_caffe.pth", "RGB", False),
        ("renamed.pth", None, False),
    ],
)
def test_weights_from_caffe_read_bgr(
    tmp_path: Path, name: str, color: str | None, bgr: bool
) -> None:
    path = saved(tmp_path / name, state_of("flownets"))
    assert_flow(load_weights(path, stated=Stated(color=color)), state_of("flownets"), bgr=bgr)


def test_the_first_line_of_a_build_and_its_manifest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path / "x.pth", state_of("flownets"), arch="flownets", div_flow=1)
    build = ["--weights", str(path), "-o", str(tmp_path / "b"), "--normalisation", "centred"]
    (request,) = resolve(parse(build))
    line, *_ = capsys.readouterr().out.splitlines()
    assert (
        "ClementPinard/FlowNetPytorch, x.pth, flow_scale 1 (div_flow in the file), normalisation "
        f"centred (--normalisation), color RGB ({LAYOUT})"
    ) in line
    assert request.origin.facts["flow_scale"] == "1 (div_flow in the file)"
    assert type(request.normalisation) is NORMALISATIONS["centred"]


@pytest.mark.parametrize("prefix", ["module.", "net.", "module.flow_net.model.", "_orig_mod."])
@pytest.mark.parametrize(
    ("layout", "normalisation"),
    [
        ("nvidia_flownetc", "pair_mean"), ("nvidia_flownetcss", "pair_mean"),
        ("pinard_flownetc", "fixed_mean"), ("torchvision_raft_small", "minus_one_to_one"),
    ],
)  # fmt: skip
def test_prefixed_names_are_those_without(
    tmp_path: Path, prefix: str, layout: str, normalisation: str
) -> None:
    from training.checkpoints.files import _prefix, _without

    tensors = {prefix + name: value for name, value in contents_of(layout).tensors.items()}
    contents = replace(contents_of(layout), tensors=_without(_prefix(tensors), tensors))
    match = recognise(contents)
    assert match.facts is not None
    assert match.facts.normalisation.value == normalisation
    assert match.left_over == ()


def said_of(layout: str, stated: Stated | None = None, **facts: object) -> Match:
    return recognise(replace(contents_of(layout), facts=facts), stated)


@pytest.mark.parametrize(
    ("layout", "facts", "message"),
    [
        ("nvidia_flownetc", {"div_flow": True}, r"div_flow is True; expected a number from 0\.001 "
         r"to 10000: state it with --flow-scale"),
        ("nvidia_flownetc", {"div_flow": [1]}, "div_flow is a list; expected a number"),
        ("nvidia_flownetc", {"div_flow": 0}, "div_flow is 0; expected a number"),
        ("nvidia_flownetc", {"div_flow": 20, "args": {"div_flow": 10}},
         r"args\.div_flow is 10\.0, and div_flow in the file says 20\.0: state the right one"),
        ("nvidia_flownetcs", {"div_flow": 10}, r"div_flow in the file is 10; expected 20, as the "
         r"flow of flownetcs cannot be rescaled: if the file is wrong, give --flow-scale 20"),
        ("nvidia_flownet2", {"div_flow": 10}, "expected 1, as the flow of flownet2"),
        ("princeton_raft_small", {"div_flow": 20}, "expected 1, as the flow of raft_small"),
        ("nvidia_flownetc", {"arch": "flownetc"}, r"arch in the file is 'flownetc', a flownetc of "
         r"ClementPinard/FlowNetPytorch, and its tensors are those of a flownetc of NVIDIA"),
        ("pinard_flownetc", {"arch": "flownetc_bn"}, "batch norm, and its tensors are those of"),
        ("nvidia_flownetc", {"arch": "FlowNet2S"}, "and its tensors are those of a flownetc"),
        ("nvidia_flownetc", {"arch": 3}, "its arch is 3; expected the name of a network"),
    ],
)  # fmt: skip
def test_facts_that_cannot_be(layout: str, facts: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        said_of(layout, **facts)


@pytest.mark.parametrize(
    ("layout", "facts"),
    [
        ("nvidia_flownet2", {"div_flow": 20}), ("nvidia_flownetcs", {"div_flow": 20.0}),
        ("nvidia_flownetc", {"arch": "FlowNet2C"}), ("pinard_flownetc_bn", {"arch": "flownetc_bn"}),
        ("nvidia_flownetc", {"arch": "somebody's own"}),
        ("princeton_raft_small", {"arch": "flownets"}),
    ],
)  # fmt: skip
def test_facts_that_agree(layout: str, facts: dict[str, Any]) -> None:
    said_of(layout, **facts)


# As mmcv stores it, and with mmengine's names; FlowNet2 has a flow_div for each of its networks.
NORMALISE = "img_norm_cfg = dict(\n    mean=[{0}, {0}, {0}], std=[{1}, {1}, {1}], to_rgb={2})\n"
CFG = "dict(flow_div=1.), dict(flow_div=20., {'mean': (0., 0, 0), 'std': (255., 255, 255)})"


@pytest.mark.parametrize(
    ("layout", "meta", "facts"),
    [
        ("mmflow_flownets", {"config": NORMALISE.format(0.0, 255.0, False)},
         ("zero_to_one (meta.config mean and std in the file)",
          "BGR (meta.config to_rgb in the file)", LAYOUT)),
        ("mmflow_flownets", {"config": NORMALISE.format(127.5, 127.5, True) + "flow_div=10.)"},
         ("minus_one_to_one (meta.config", "RGB (meta.config", "10 (meta.config flow_div in")),
        ("mmflow_flownet2", {"cfg": CFG}, ("zero_to_one (meta.cfg", f"BGR ({LAYOUT}", LAYOUT)),
        ("mmflow_raft_large", {"cfg": "bgr_to_rgb=True"}, (LAYOUT, "RGB (meta.cfg to_rgb", LAYOUT)),
        ("mmflow_flownets", {"config": 3}, (LAYOUT,) * 3),
    ],
)  # fmt: skip
def test_configuration_of_mmflow(
    layout: str, meta: dict[str, Any], facts: tuple[str, str, str]
) -> None:
    found = said_of(layout, meta=meta).facts
    assert found is not None
    words = found.in_words()
    for name, expected in zip(("normalisation", "color", "flow_scale"), facts, strict=True):
        assert expected in words[name]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("to_rgb=x", "meta.config to_rgb is 'x'; expected True or False: state it with --color"),
        ("to_rgb=True, to_rgb=False", "meta.config to_rgb is BGR, and meta.config to_rgb in the "
         "file says RGB: state the right one with --color"),
        (NORMALISE.format(1.0, 255.0, False), "mean and std is '1.0, 1.0, 1.0 / 255.0, 255.0, "
         "255.0'; expected 0 and 255, or 127.5 and 127.5: state it with --normalisation"),
        ("flow_div=x", "meta.config flow_div is 'x'; expected a number"),
    ],
)  # fmt: skip
def test_configuration_of_mmflow_that_cannot_be(config: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        said_of("mmflow_flownets", meta={"config": config})


def test_a_stated_normalisation_settles_whose_program_it_was() -> None:
    said_of("nvidia_flownetc", Stated(normalisation="fixed_mean"), arch="flownetc")


CHANGES: dict[str, Callable[[Tensor], object]] = {
    "removed": lambda _: None,
    "NaN": lambda value: value * torch.nan,
    "a number": lambda value: value.flatten()[0],
    "half": lambda value: value[: len(value) // 2] if value.dim() else value,
    "whole numbers": lambda value: value.int(),
    "float64": lambda value: value.double(),
    "negative": lambda value: -value,
    "no values": lambda value: value.to("meta"),
    "strides of 0": lambda value: value.flatten()[:1].expand(value.numel()).reshape(value.shape),
    "a list": lambda value: value.tolist(),
}
DIV_FLOWS: tuple[Any, ...] = (
    20, 1, 0.05, "13", torch.tensor(8), np.float64(20), None, "", -20, float("inf"), 10**400,
    1e-300, [20], torch.zeros(2),
)  # fmt: skip


def loaded_or_error(path: Path) -> tuple[Weights | None, str]:
    try:
        return load_weights(path), ""
    except ValueError as error:
        return None, str(error)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_one_change_gives_the_flow_of_the_file_or_an_error(
    tmp_path: Path, data: st.DataObject
) -> None:
    """Whatever is changed in a checkpoint: what is built computes what its program would."""
    draw = data.draw
    arch = draw(st.sampled_from(["flownets", "flownets_bn"]))
    state, facts = dict(state_of(arch)), {"arch": arch, "div_flow": 20.0}
    kind = draw(st.sampled_from(["div_flow", "arch", "tensor", "prefix", "byte", "end"]))
    if kind == "div_flow":
        facts["div_flow"] = draw(st.sampled_from(DIV_FLOWS))
    elif kind == "arch":
        facts["arch"] = draw(st.sampled_from(["flownets", "flownets_bn", "FlowNet2S", "mine", 3]))
    elif kind == "tensor":
        name = draw(st.sampled_from(sorted(state)))
        state[name] = CHANGES[draw(st.sampled_from(sorted(CHANGES)))](state[name])
        state = {key: value for key, value in state.items() if value is not None}
    elif kind == "prefix":
        state = {f"{draw(st.sampled_from(['module.', 'a.b.']))}{k}": v for k, v in state.items()}
    path = saved(tmp_path / "x.pth.tar", state, **facts)
    content = bytearray(path.read_bytes())
    if kind == "byte":
        content[draw(st.integers(0, len(content) - 1))] ^= draw(st.integers(1, 255))
    if kind == "end":
        content = content[: draw(st.integers(0, len(content) - 1))]
    path.write_bytes(content)
    weights, said = loaded_or_error(path)
    if weights is None:
        assert said.startswith(f"{path}: ")
        return
    plain = {name.removeprefix("module.").removeprefix("a.b."): it for name, it in state.items()}
    assert_flow(weights, plain, scale=float(facts["div_flow"]))
    assert FACTS in weights.metadata
