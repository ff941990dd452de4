"""Every Python block and every command of the README and docs/ runs."""

import copy
import importlib
import importlib.util
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import engine
import export.options
import training.config
from engine.backends.openvino.runtime import import_openvino
from engine.bundle.manifest import read_manifest
from engine.bundle.shipped import DEFAULT_BUNDLE
from engine.errors import EngineError
from engine.flow.formats import write_flow
from engine.images import write_image
from engine.store.writer import write_store
from engine.system.cache import VARIABLE
from export.graph import onnx_models
from export.graph.deployable import Deployable
from export.tensorrt.plan_from_onnx import BuiltPlan
from tests.support.data_sets import TREES
from tests.support.one_process import replace_ray
from tests.support.opened_once import open_once
from tests.support.pages import EVERYTHING, PAGES, ROOT, blocks, commands
from tests.support.serving import place_of, running
from tests.support.videos import levels, write_clip
from training.networks import build_network
from training.synthetic.render import SyntheticPairs
from training.weights import METADATA_KEYS, save_weights

# Appended to commands that would take minutes: the same command, less of it.
SHORTER = {
    "bench.bulk": "--make 64x96x4 --count 2 --workers 0,1 --rounds 1",
    "bench.compare": "--list",
    "bench.evaluate": "--limit 1",
    "bench.codec_motion": "--frames 3 --size 64x96",
    "bench.correlation": "--channels 8 --size 6x8 --max-displacement 2 --seconds 0.01",
    "bench.serving": "--sessions 1 --fps 10 --seconds 0.2 --size 64x64",
    "bench.storage": "--limit 1 --rounds 1",
    "bench.video": "--make 32x48x4 --outputs output --rounds 1",
    "export.build_engine": "--targets onnxruntime --size 64x128",
    "training.synthetic": "--pairs 1 --size 64x64",
    "training.train": "--steps 1 --batch-size 2 --height 64 --width 64 --device cpu",
}
SHORTER_RENDERING = "--pool 4"
# Ranges from pairs with little motion saturate for larger motion.
SHORTER_INT8 = "--calibration pairs --gate pairs --max-epe-increase 1000%"
# Pages share the names of outputs, which these commands do not overwrite by themselves.
ENGINE_WRITES = ("infer", "video", "folder", "show", "convert", "extract")
# The first two are checked in test_docs_facts.py, CMake runs in `make kernels`.
OTHER_COMMANDS = ("make ", "pip ", "cmake ", "openssl ", "docker ", "pyproject-build")
# Its commands train for hours, or build in int8 with a gate that must hold.
HISTORY = "docs/weights.md"
PARSED: dict[str, Callable[[list[str]], object]] = {
    "export.build_engine": export.options.parse,
    "training.train": training.config.parse,
}


def python_blocks() -> list[object]:
    return [
        pytest.param(block, id=f"{page}-{number}")
        for page, text in PAGES.items()
        for number, block in enumerate(blocks("python", text))
    ]


def module_commands() -> list[str]:
    """Each once, in the order of the pages; ``flow`` is ``python -m engine``."""
    found = [
        re.sub("^flow ", "python -m engine ", command)
        for page, text in PAGES.items()
        if page != HISTORY
        for command in commands(text)
    ]
    return list(dict.fromkeys(command for command in found if command.startswith("python -m ")))


def run_module(module: str, arguments: list[str]) -> object:
    """Call the ``main`` of ``python -m module`` in this process, which has imported PyTorch."""
    spec = importlib.util.find_spec(module)
    assert spec is not None, f"no module {module}"
    if spec.submodule_search_locations is not None:
        module += ".__main__"
        spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    assert '__name__ == "__main__"' in Path(spec.origin).read_text()
    return importlib.import_module(module).main(arguments)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the pages assume."""
    folder = tmp_path_factory.mktemp("docs")
    for name in ("engine", "training"):
        (folder / name).symlink_to(ROOT / name)
    rng = np.random.default_rng(0)
    for name in ("frame1.png", "frame2.png"):
        write_image(folder / name, rng.integers(0, 256, (64, 96, 3), np.uint8))
    write_flow(folder / "truth.flo", rng.normal(0, 20, (64, 96, 2)).astype(np.float32))
    (folder / "frames").mkdir()
    (folder / "token").write_text("0123456789abcdef")
    frames = list(rng.integers(0, 256, (10, 64, 96, 3), np.uint8))
    for index, frame in enumerate(frames[:3]):
        write_image(folder / "frames" / f"{index}.png", frame)
    write_clip(folder / "dance.mp4", frames)
    (folder / "clips").mkdir()
    for name in ("a.mp4", "b.mp4"):
        write_clip(folder / "clips" / name, frames[:3])
    with pytest.MonkeyPatch.context() as patch:
        replace_ray(patch)
        run_module("engine", ["extract", f"{folder}/clips", "-o", f"{folder}/clips-flow"])
    (folder / "clips.txt").write_text("clips/a.mp4\ndance.mp4\n")
    run_module("training.synthetic", ["--pairs", "2", "--size", "192x256", "-o", f"{folder}/pairs"])
    with write_store(
        folder / "flow.zarr", (64, 96), source="clip", time_base=Fraction(1, 25)
    ) as store:
        for index in range(3):
            times = Fraction(index, 25), Fraction(index + 1, 25)
            store.append(np.zeros((64, 96, 2)), name=f"{index:06d}", times=times)
    metadata = dict.fromkeys(METADATA_KEYS, "seeded random") | {
        "network": "flownetc_slim", "normalisation": "fixed_mean", "epe": "{}"
    }  # fmt: skip
    for name in ("sintel", "kitti2015", "things"):
        TREES[name](folder / "data" / name)
    write_clip(folder / "drive.mp4", levels(3))
    few = ["--pairs", "10", "--size", "64x64", "-o", f"{folder}/data/chairs1485"]
    run_module("training.synthetic", few)
    for name in ("flownets", "pyramid"):
        shutil.copytree(DEFAULT_BUNDLE, folder / "build" / name)
    torch.save(
        {"epoch": 1, "state_dict": build_network("flownets_slim", seed=0).state_dict()},
        folder / "FlowNet2_checkpoint.pth.tar",
    )
    weights = folder / "runs" / "flownetc" / "flownetc_slim.safetensors"
    save_weights(weights, build_network("flownetc_slim", seed=0).half().state_dict(), metadata)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _less_is_computed_again(workplace: Path) -> Iterator[None]:
    """What is compiled or exported is kept."""
    with pytest.MonkeyPatch.context() as patch:
        open_once(patch)
        patch.setattr(engine, "_default", None)
        patch.setenv(VARIABLE, str(workplace / "cache"))
        patch.setattr("bench.harness.interleave.PAUSE_SECONDS", 0.0)
        patch.setattr(onnx_models, "onnx_from_torch", exported_once(onnx_models.onnx_from_torch))
        yield


def exported_once(export: Callable[..., onnx.ModelProto]) -> Callable[..., onnx.ModelProto]:
    """Return an export that remembers the graph of each network: builds differ in what follows."""
    known: dict[tuple[str, ...], onnx.ModelProto] = {}

    def exported(deployable: Deployable, **options: Any) -> onnx.ModelProto:
        metadata = options.pop("metadata")
        dtype = str(next(deployable.parameters()).dtype)
        key = metadata["weights_sha256"], dtype, str(options)
        if key not in known:
            known[key] = export(deployable, metadata={}, **options)
        model = copy.deepcopy(known[key])
        onnx.helper.set_model_props(model, metadata)
        return model

    return exported


@contextmanager
def served(block: str) -> Iterator[str]:
    """Yield the block, with a server at the address in it."""
    if "localhost:8000" not in block:
        yield block
        return
    with (
        engine.load(DEFAULT_BUNDLE, backend="onnxruntime") as flow_engine,
        running(flow_engine) as server,
    ):
        yield block.replace("localhost:8000", place_of(server))


@pytest.mark.parametrize("block", python_blocks())
def test_python(block: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    if needed := re.match(r"# needs: (\w+)\n", block):
        try:
            engine.load(backend=needed[1]).close()
        except EngineError as error:
            pytest.skip(f"{needed[1]} does not run here: {error}")
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (3, 64, 96, 3), np.uint8)
    names: dict[str, object] = {"image1": frames[0], "image2": frames[1], "frames": frames}
    with served(block) as block:
        exec(compile(block, "<documentation>", "exec"), names)
    flow = names["flow"]
    assert isinstance(flow, np.ndarray)
    assert flow.shape == (64, 96, 2)
    assert flow.dtype == np.float32


@pytest.mark.parametrize("command", module_commands(), ids=lambda command: command[10:80])
def test_command_runs(command: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    few_pairs = {"synthetic": [SyntheticPairs(64, 64).render(2, 0)]}
    monkeypatch.setattr("training.run.open_validation", lambda *_: few_pairs)
    # Plans are built in tests/export: the bundles of these pages have none.
    plan = BuiltPlan("model.plan", "TensorRT", None, 1)
    monkeypatch.setattr(
        "export.rebuild.rebuild_plan", lambda bundle, _: read_manifest(bundle) and plan
    )
    # Would serve until a signal: tests/engine/serving.
    monkeypatch.setattr("engine.serving.server.serve", lambda *_: None)
    replace_ray(monkeypatch)
    module, *arguments = shlex.split(command.removeprefix("python -m "))
    arguments += shlex.split(SHORTER.get(module, ""))
    if module == "training.train" and ("--data" not in arguments or "synthetic" in arguments):
        arguments += shlex.split(SHORTER_RENDERING)
    if module == "export.build_engine" and {"int8", "auto"} & {*arguments}:
        arguments += shlex.split(SHORTER_INT8)
    if module == "engine" and arguments[0] in ENGINE_WRITES and "--force" not in arguments:
        arguments.append("--force")
    assert not run_module(module, arguments)


@pytest.mark.parametrize("command", commands(PAGES[HISTORY]), ids=lambda command: command[10:60])
def test_command_of_the_training_history_parses(
    command: str, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workplace)
    module, *arguments = shlex.split(command.removeprefix("python -m "))
    if module in PARSED:
        PARSED[module](arguments)
    else:
        assert not run_module(module, [*arguments, *shlex.split(SHORTER[module])])


@pytest.mark.parametrize(
    "command", [line for line in commands(EVERYTHING) if line.startswith("benchmark_app ")]
)
def test_benchmark_app_runs(command: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import_openvino()
    monkeypatch.chdir(workplace)
    monkeypatch.setattr("sys.argv", [*shlex.split(command), "-t", "1"])
    importlib.import_module("openvino.tools.benchmark.main").main()


def test_every_command_is_of_a_known_kind() -> None:
    kinds = ("python -m ", "flow ", "benchmark_app ", *OTHER_COMMANDS)
    assert [command for command in commands(EVERYTHING) if not command.startswith(kinds)] == []
