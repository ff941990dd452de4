"""Builds that are killed at every step, and builds and readers at the same time."""

import os
import random
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest

import engine
from engine.bundle.manifest import manifest_bytes, parse_manifest, write_manifest
from engine.bundle.reading import open_whole
from engine.bundle.verify import verify_files
from export import staging as staging_module
from export.staging import move_into_place, staging
from tests.support.tiny_network import manifest_for, tiny_model

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

KILLED = 9
VERSIONS = range(4)


def write_bundle(folder: Path, version: int) -> None:
    """The tiny network, whose flow is higher by ``version``."""
    model = tiny_model()
    (bias,) = (tensor for tensor in model.graph.initializer if tensor.name == "bias")
    values = onnx.numpy_helper.to_array(bias) + np.float32(version)
    bias.CopyFrom(onnx.numpy_helper.from_array(values, "bias"))
    onnx.save(model, folder / "model.onnx")
    write_manifest(folder, manifest_for(folder))


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folders = [tmp_path_factory.mktemp(f"version{version}") for version in VERSIONS]
    for version, folder in enumerate(folders):
        write_bundle(folder, version)
    return folders


def build(source: Path, output: Path) -> None:
    """Put a copy of a bundle in place as `build_engine` does."""
    with staging(output) as folder:
        for name in ("model.onnx", "manifest.json"):
            shutil.copy(source / name, folder)
        move_into_place(folder, output)


def in_a_child(function: Callable[[], None]) -> int:
    """Start a process that runs a function; return its id."""
    child = os.fork()
    if child == 0:
        try:
            function()
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
    return child


def exit_code(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_after(steps: int, function: Callable[[], None]) -> int:
    """Run a function in a process that ends before a step: a call that Python's auditing sees."""

    def run() -> None:
        left = steps

        def count(event: str, _arguments: object) -> None:
            nonlocal left
            if event.split(".")[0] in ("open", "os", "shutil", "fcntl", "ctypes"):
                left -= 1
                if left < 0:
                    os._exit(KILLED)

        sys.addaudithook(count)
        function()

    return exit_code(in_a_child(run))


def content(bundle: Path) -> bytes | None:
    """The manifest of a whole bundle; None where there is no folder at all."""
    if not bundle.exists():
        return None
    text = manifest_bytes(bundle)
    verify_files(bundle, parse_manifest(bundle, text))
    return text


@pytest.mark.parametrize(("replaces", "exchanges"), [(False, True), (True, True), (True, False)])
def test_a_build_that_is_killed_at_any_step_leaves_the_old_bundle_or_the_new_one(
    versions: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    replaces: bool,
    exchanges: bool,
) -> None:
    if not exchanges:
        monkeypatch.setattr(staging_module, "exchange", lambda first, second: False)
    output = tmp_path / "bundle"
    new = manifest_bytes(versions[1])
    old = manifest_bytes(versions[0]) if replaces else None
    found: list[bytes | None] = [new]
    code = KILLED
    while code == KILLED:
        if found[-1] == new:
            shutil.rmtree(output, ignore_errors=True)
            if replaces:
                build(versions[0], output)
        code = killed_after(len(found) - 1, lambda: build(versions[1], output))
        if replaces and not exchanges and not output.exists():
            with staging(output):  # between the two renames: the next build puts it back
                pass
        found.append(content(output))
        assert found[-1] in (old, new), f"killed before step {len(found) - 2}"
    assert code == 0
    assert (found[1], found[-1]) == (old, new)
    assert len(found) > 20
    # The last build has removed what the killed ones have left.
    assert list(tmp_path.iterdir()) == [output]


def test_builds_and_readers_at_the_same_time(versions: list[Path], tmp_path: Path) -> None:
    """Each reader finds one of the bundles, whole; each build ends well."""
    output = tmp_path / "bundle"
    build(versions[0], output)
    zero = np.zeros((64, 64, 3), np.uint8)
    with engine.load(output, backend="onnxruntime", threads=1) as opened:
        lowest = opened.infer(zero, zero)[0, 0, 0]

    def builds(seed: int) -> None:
        choose = random.Random(seed)
        for _ in range(50):
            build(versions[choose.choice(VERSIONS)], output)

    running = {in_a_child(partial(builds, seed)) for seed in range(3)}
    texts, loaded = set(), set()
    while running:
        texts.add(open_whole(output, partial(verified, output)))
        with engine.load(output, backend="onnxruntime", threads=1) as opened:
            # The bias counts twice: in each pixel and in the mean of its block.
            loaded.add(float(opened.infer(zero, zero)[0, 0, 0] - lowest) / 2)
        for child in list(running):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                running.remove(child)
                assert status == 0
    assert texts <= {manifest_bytes(version) for version in versions}
    assert loaded <= set(VERSIONS)
    assert len(loaded) > 1
    assert list(tmp_path.iterdir()) == [output]


def verified(bundle: Path, text: bytes) -> bytes:
    verify_files(bundle, parse_manifest(bundle, text))
    return text
