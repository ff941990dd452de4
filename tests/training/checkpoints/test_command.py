"""`python -m training.weights`: reports, conversions and refusals, each with nothing written."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save, save_file

from tests.export.tiny import assert_one_line
from training.networks import build_network
from training.weights import load_weights, main, network_from_weights

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    """Weights of the thin FlowNetS under NVIDIA's names."""
    return build_network("flownets_slim", seed=1).state_dict()


@pytest.fixture
def file(state: State, tmp_path: Path) -> Path:
    path = tmp_path / "model_best"  # what a file is does not depend on its name
    torch.save({"epoch": 7, "arch": "FlowNet2S", "state_dict": state, "best_EPE": 2.5}, path)
    return path


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_report(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", file) == 0
    lines = capsys.readouterr().out.splitlines()
    facts = {line[:15].strip(): line[15:] for line in lines}
    assert facts["layout"] == "NVIDIA/flownet2-pytorch"
    assert facts["network"] == "flownets_slim, 5,462,666 parameters"
    assert facts["container"] == "PyTorch; epoch 7, arch FlowNet2S, best_EPE 2.5"
    assert facts["tensors"] == "42: 42 float32"
    assert facts["normalisation"] == "pair_mean: (x - the mean colour of the pair) / 255"
    assert facts["flow"] == ("pixels / 20, at 1/4 of the size of the images; bilinear upsampling")
    assert facts["missing"] == facts["left over"] == facts["NaN, infinity"] == "none"
    assert all(len(line) <= 100 for line in lines if not line.startswith("next"))
    assert lines[-1].startswith("next: python -m export.build_engine --weights ")


def test_report_with_stated_facts(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", file, "--flow-scale", 5, "--color", "BGR") == 0
    out = capsys.readouterr().out
    assert "taken from     flow_scale 5 (--flow-scale); normalisation pair_mean (the layout)" in out
    assert f"--weights {file} --flow-scale 5.0 --color BGR -o build/flownets_slim" in out


def test_facts_are_not_stated_for_converted_files(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = file.with_name("out.safetensors")
    assert run("convert", file, "-o", output, "--flow-scale", 5) == 0
    taken = json.loads(load_weights(output).metadata["facts"])
    assert taken["flow_scale"] == "5 (--flow-scale)"
    assert run("inspect", output, "--flow-scale", 5) == 2
    assert_one_line(capsys, r"--flow-scale 5\.0: applies to checkpoints of others")


@pytest.mark.parametrize("damage", ["meta", "expanded", "escape"])
def test_tensors_and_names_that_no_checkpoint_has(
    state: State, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    extra, message = {
        "meta": (("x", torch.empty(3, device="meta")), "x is without values"),
        "expanded": (("x", torch.ones(1).expand(10**11)), "x is a repetition of fewer values"),
        "escape": (
            ("\x1b[2J\n" + "x" * 999, torch.ones(1)),
            r"a flownets_slim: \\x1b\[2J\\nx+\.\.\.",
        ),
    }[damage]
    torch.save({"state_dict": state | dict([extra])}, tmp_path / "x.pth")
    assert run("convert", tmp_path / "x.pth", "-o", tmp_path / "y.safetensors") == 2
    assert_one_line(capsys, message)
    assert run("inspect", tmp_path / "x.pth") == 2
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(("dtype", "size"), [("F4", 96), ("F8_E4M3", 192), ("U64", 8 * 192)])
def test_types_that_weights_do_not_have(
    state: State, tmp_path: Path, capsys: pytest.CaptureFixture[str], dtype: str, size: int
) -> None:
    rest = {name: value for name, value in state.items() if name != "conv4.0.bias"}
    content = save(rest)
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    end = len(content) - 8 - length
    header["conv4.0.bias"] = {"dtype": dtype, "shape": [192], "data_offsets": [end, end + size]}
    text = json.dumps(header).encode()
    body = content[8 + length :] + bytes(size)
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body)
    for command in (["inspect"], ["convert", "-o", tmp_path / "y.safetensors"]):
        assert run(*command, tmp_path / "x.safetensors") == 2
        assert_one_line(capsys, "1 tensor with shapes or types other than those of")


def test_own_files_without_a_key_are_not_taken_for_others(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A header without its normalisation would be NVIDIA's, by the names of the tensors."""
    weights = load_weights(file)
    header = {key: value for key, value in weights.metadata.items() if key != "normalisation"}
    save_file(weights.state_dict, file.with_name("x.safetensors"), header)
    assert run("inspect", file.with_name("x.safetensors")) == 2
    assert_one_line(capsys, "its header lacks normalisation")


@pytest.mark.parametrize("length", [235, 243, 300])
def test_long_names_of_files(file: Path, capsys: pytest.CaptureFixture[str], length: int) -> None:
    output = file.with_name("x" * length + ".safetensors")
    code = run("convert", file, "-o", output)
    assert code == (0 if output.name in {path.name for path in file.parent.iterdir()} else 2)
    assert_no_traceback_and_no_rest(file, code, capsys.readouterr().err)


def assert_no_traceback_and_no_rest(file: Path, code: int, said: str) -> None:
    assert len(said.splitlines()) == (1 if code else 0)
    assert not list(file.parent.glob(".*"))


def test_report_as_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", file, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["network"] == "flownets_slim"
    assert report["facts"] == {"epoch": 7, "arch": "FlowNet2S", "best_EPE": 2.5}
    assert report["problem"] is None


def test_conversion(file: Path, state: State, capsys: pytest.CaptureFixture[str]) -> None:
    output = file.with_name("new") / "out.safetensors"
    assert run("convert", file, "-o", output, "--network", "flownets_slim") == 0
    out = capsys.readouterr().out
    assert f"wrote {output}: flownets_slim, 42 tensors, 21.9 MB" in out
    weights = load_weights(output)
    assert weights.metadata["normalisation"] == "pair_mean"
    assert weights.metadata["source"] == "NVIDIA/flownet2-pytorch, model_best"
    assert "research purposes only" in weights.metadata["licence"]
    network = network_from_weights("flownets_slim", weights)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    # The converted file is described, too.
    assert run("inspect", output) == 0
    assert "flownet-engine" in capsys.readouterr().out


def test_safetensors_of_others_are_recognised(tmp_path: Path, state: State) -> None:
    half = {f"module.{name}": value.half() for name, value in state.items()}
    save_file(half, tmp_path / "x.safetensors", metadata={"format": "pt"})
    assert run("convert", tmp_path / "x.safetensors", "-o", tmp_path / "y.safetensors") == 0
    with safe_open(str(tmp_path / "y.safetensors"), framework="pt") as made:
        assert made.metadata()["network"] == "flownets_slim"
        assert torch.equal(made.get_tensor("conv1.0.weight"), half["module.conv1.0.weight"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_become_float32(tmp_path: Path, state: State, dtype: torch.dtype) -> None:
    torch.save({name: value.to(dtype) for name, value in state.items()}, tmp_path / "x.pt")
    tensors = load_weights(tmp_path / "x.pt").state_dict
    assert {value.dtype for value in tensors.values()} == {torch.float32}
    expected = state["conv1.0.weight"].to(dtype).float()
    assert torch.equal(tensors["conv1.0.weight"], expected)


def without(name: str) -> Callable[[State], dict[str, Any]]:
    return lambda state: {key: value for key, value in state.items() if key != name}


def changed(**values: object) -> Callable[[State], dict[str, Any]]:
    return lambda state: state | {key.replace("__", "."): value for key, value in values.items()}


DAMAGE = {
    "missing": (
        without("conv4_1.0.bias"),
        r"a flownets_slim of NVIDIA/flownet2-pytorch has 42 tensors, 1 of which are missing: "
        r"conv4_1\.0\.bias",
    ),
    "wrong shape": (
        changed(conv4__0__bias=torch.zeros(5)),
        r"1 tensor with shapes or types other than .*: conv4\.0\.bias is 5, expected 192",
    ),
    "whole numbers": (
        changed(conv4__0__bias=torch.zeros(192, dtype=torch.int32)),
        r".*: conv4\.0\.bias is 192 int32, expected 192",
    ),
    "NaN": (
        changed(conv4__0__bias=torch.full((192,), float("nan"))),
        r"1 tensor with values that are NaN or infinite",
    ),
    "infinite": (
        changed(conv4__0__bias=torch.tensor([float("inf"), float("-inf")] * 96)),
        r"1 tensor with values that are NaN or infinite",
    ),
    "left over": (
        changed(teacher__weight=torch.zeros(3)),
        r"1 tensor without a place in",
    ),
}


@pytest.mark.parametrize(("change", "message"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_files_are_refused(
    state: State,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[State], dict[str, Any]],
    message: str,
) -> None:
    torch.save({"state_dict": change(state)}, tmp_path / "x.pth")
    assert run("convert", tmp_path / "x.pth", "-o", tmp_path / "y.safetensors") == 2
    assert_one_line(capsys, r"x\.pth: " + message)
    assert not (tmp_path / "y.safetensors").exists()
    assert run("inspect", tmp_path / "x.pth") == 2
    captured = capsys.readouterr()
    assert "network        flownets_slim" in captured.out
    assert captured.err.startswith("error: ")


def test_extra_tensors_are_dropped_on_request(state: State, tmp_path: Path) -> None:
    torch.save(state | {"teacher.weight": torch.zeros(3)}, tmp_path / "x.pth")
    output = tmp_path / "y.safetensors"
    assert run("convert", tmp_path / "x.pth", "-o", output, "--drop-extra") == 0
    assert load_weights(output).state_dict.keys() == state.keys()


def test_unknown_networks_are_refused(
    state: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = list(state)[:5]
    torch.save({name: state[name] for name in names} | {
        f"level{i}.weight": torch.zeros(1) for i in range(30)
    }, tmp_path / "x.pth")  # fmt: skip
    for command in (["inspect"], ["convert", "-o", tmp_path / "y.safetensors"]):
        assert run(*command, tmp_path / "x.pth") == 2
        assert_one_line(
            capsys,
            r"not of a known network; its 35 tensors have names such as .*The nearest is flownets"
            r".*: it has 5 of that network's \d+ names\. Known networks: flownets, ",
        )
    assert not (tmp_path / "y.safetensors").exists()


def test_another_network_is_suggested(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = file.with_name("out.safetensors")
    assert run("convert", file, "-o", output, "--network", "flownetc") == 2
    assert_one_line(
        capsys, r"not of 'flownetc' \(their network: flownets_slim\).*Pass --network flow"
    )
    assert not output.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "out.pth"], r"-o out\.pth: expected a name that ends in \.safetensors"),
        (["-o", "folder.safetensors"], r"-o folder\.safetensors: a folder"),
        (["-o", "there.safetensors"], r"-o there\.safetensors: exists; .*--force"),
        (["-o", "x.safetensors", "--network", "flownet22"], "Did you mean 'flownet2'"),
        ([], "arguments are required: -o"),
    ],
)
def test_bad_options(
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(file.parent)
    Path("there.safetensors").write_text("kept")
    Path("folder.safetensors").mkdir()
    assert run("convert", file, *options) == 2
    assert_one_line(capsys, message)
    assert Path("there.safetensors").read_text() == "kept"
    assert not Path("x.safetensors").exists()


def test_force_replaces(file: Path) -> None:
    output = file.with_name("out.safetensors")
    output.write_text("old")
    assert run("convert", file, "-o", output, "--force") == 0
    assert load_weights(output).metadata["network"] == "flownets_slim"


@pytest.mark.parametrize("command", ["inspect", "convert"])
@pytest.mark.parametrize(("name", "message"), [("none.pth", "no such"), ("", "a folder")])
def test_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, name: str, message: str
) -> None:
    options = ["-o", tmp_path / "y.safetensors"] if command == "convert" else []
    assert run(command, tmp_path / name, *options) == 2
    assert_one_line(capsys, message)
    assert list(tmp_path.iterdir()) == []
