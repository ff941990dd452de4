"""Layouts against the names of the published checkpoints.

``layouts.zip`` has a text file for each: a name, a type and sizes in each line (no sizes: a
number), in the order of the state_dict; ``map_<network>_<one>_to_<other>.txt`` has the names of the
same tensor in two of them.
"""

import zipfile
from pathlib import Path

import pytest
import torch

from training.checkpoints.convert import changes, fault
from training.checkpoints.files import Contents
from training.checkpoints.mmflow import MMFLOW, MMFLOW_RAFT
from training.checkpoints.recognise import Match, recognise
from training.checkpoints.torchvision import TORCHVISION

FILES = {
    name.removesuffix(".txt"): [
        line.split() for line in text.decode().splitlines() if not line.startswith("#")
    ]
    for archive in [zipfile.ZipFile(Path(__file__).with_name("layouts.zip"))]
    for name, text in ((name, archive.read(name)) for name in archive.namelist())
}
PUBLISHERS = {
    "nvidia": "NVIDIA/flownet2-pytorch",
    "pinard": "ClementPinard/FlowNetPytorch",
    "princeton": "princeton-vl/RAFT",
    "torchvision": "torchvision",
    "mmflow": "open-mmlab/mmflow",
}
LISTS = [name for name in FILES if not name.startswith("map_") and name != "nvidia_flownetfusion"]
MAPS = [name for name in FILES if name.startswith("map_")]


def contents_of(name: str, *, lightning: bool = False) -> Contents:
    """The tensors of a checkpoint as they are after reading, without values."""
    tensors = {
        key.removeprefix("module."): torch.empty(
            [int(size) for size in sizes], dtype=getattr(torch, dtype), device="meta"
        )
        for key, dtype, *sizes in FILES[name]
    }
    return Contents(tensors, "PyTorch", "", {}, lightning=lightning)


def assert_whole(match: Match) -> None:
    assert match.missing == ()
    assert match.left_over == ()
    assert match.wrong == {}
    assert fault(match) is None


@pytest.mark.parametrize("name", LISTS)
def test_every_published_layout_is_recognised(name: str) -> None:
    match = recognise(contents_of(name))
    publisher, _, network = name.partition("_")
    assert match.layout.publisher.split(",")[0] == PUBLISHERS[publisher]
    assert match.network == network.removesuffix("_bn")
    assert ("batch norm" in match.layout.publisher) == network.endswith("_bn")
    assert match.shared == match.expected
    assert_whole(match)


@pytest.mark.parametrize(
    "name", [name for name in LISTS if name.startswith(("nvidia_", "princeton_"))]
)
def test_lightning_files_are_of_ptlflow(name: str) -> None:
    match = recognise(contents_of(name, lightning=True))
    assert match.layout.publisher.split(",")[0] == "hmorimitsu/ptlflow"
    assert match.network == name.partition("_")[2]
    assert_whole(match)


@pytest.mark.parametrize("name", MAPS)
def test_names_of_one_tensor(name: str) -> None:
    _, *network, _, _, other = name.split("_")
    shapes = {
        key: tuple(map(int, sizes))
        for key, _, *sizes in FILES[f"{other}_{'_'.join(network)}"]
    }  # fmt: skip
    if other == "torchvision":
        pairs = [(theirs, ours) for ours, theirs in FILES[name] if theirs != "-"]
        layout, ours_to_shape = TORCHVISION, {ours: shapes[theirs] for theirs, ours in pairs}
    else:
        pairs = [(theirs, ours) for theirs, ours in FILES[name]]
        layout = MMFLOW_RAFT if "raft" in name else MMFLOW
        ours_to_shape = {
            ours: shapes[f"module.{ours}" if "raft" in name else ours] for _, ours in pairs
        }
    origins = layout.origins("_".join(network), ours_to_shape)
    assert {ours: list(origin.tensors) for ours, origin in origins.items()} == {
        ours: [theirs] for theirs, ours in pairs
    }


def test_mmflow_changes_values_where_its_code_differs() -> None:
    match = recognise(contents_of("mmflow_flownet2"))
    assert changes(match) == {
        "correlation: a sum there, a mean here, so conv3_1 times 256": 1,
        "first convolutions: BGR to RGB": 5,
        "flow of FlowNetSD: times 20 there, divided by 20 here, so its head times 400": 2,
    }


def test_mmflow_multiplies_the_flow_of_flownetsd() -> None:
    """Inside of FlowNet2 NVIDIA's code divides it by 20; alone both multiply it."""
    origins = recognise(contents_of("mmflow_flownet2")).origins
    assert origins["flownets_d.predict_flow2.bias"].compute(torch.ones(2)).tolist() == [400, 400]
    origins = recognise(contents_of("mmflow_flownetsd")).origins
    assert origins["predict_flow2.bias"].compute(torch.ones(2)).tolist() == [1, 1]


def test_mmflow_ends_in_bilinear_upsampling() -> None:
    match = recognise(contents_of("mmflow_flownetcss"))
    assert match.layout.upsampling["flownetcss"] == "bilinear"
    assert recognise(contents_of("nvidia_flownetcss")).layout.upsampling == {}


def test_a_missing_count_of_batches_is_zero() -> None:
    contents = contents_of("princeton_raft_large")
    for name in list(contents.tensors):
        if name.endswith("num_batches_tracked"):
            del contents.tensors[name]
    match = recognise(contents)
    assert_whole(match)
    assert match.origins["cnet.norm1.num_batches_tracked"].compute() == 0


@pytest.mark.parametrize(("name", "network"), [
    ("nvidia_flownet2", "flownet2"), ("pinard_flownetc_bn", "flownetc"),
    ("mmflow_flownets", "flownets"),
])  # fmt: skip
def test_damage_is_named(name: str, network: str) -> None:
    contents = contents_of(name)
    first, second, *_, last = contents.tensors
    del contents.tensors[first]
    contents.tensors[second] = torch.empty(5, device="meta")
    contents.tensors["criterion.weight"] = torch.empty(3, device="meta")
    match = recognise(contents)
    assert match.network == network
    assert match.is_known
    assert match.missing == (first,)
    assert match.left_over == ("criterion.weight",)
    assert match.wrong[second][0] == "5"
    assert last not in match.wrong
