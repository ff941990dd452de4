"""What OpenVINO compiles is kept: the next process imports it, and computes the very same flow."""

import math
import mmap
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import engine
from engine.backends.openvino import backend as openvino_backend
from engine.backends.registry import open_backend
from engine.bundle.manifest import read_manifest, sha256_of
from engine.errors import BackendError, BundleError
from engine.loader import DEFAULT_BUNDLE
from engine.system import cache
from engine.system.cache import cache_key, read_cached, write_cached
from tests.support.cpu import needs_int8

openvino = pytest.importorskip("openvino", reason="openvino is an optional extra")

ROOT = Path(__file__).parents[2]

# Says which of OpenVINO's methods are called, and leaves the flow of seeded images in a file.
CHILD = """
import sys
import numpy as np
import engine
from engine.backends.openvino.backend import import_openvino

calls = []

def spied(name):
    real = getattr(openvino.Core, name)
    def call(*arguments, **options):
        calls.append(name)
        return real(*arguments, **options)
    return call

openvino = import_openvino()
for name in ("read_model", "compile_model", "import_model"):
    setattr(openvino.Core, name, spied(name))
bundle, out = sys.argv[1:]
images = np.random.default_rng(0).integers(0, 256, (2, 100, 130, 3), dtype=np.uint8)
with engine.load(bundle, backend="openvino", threads=1) as flow_engine:
    np.save(out, flow_engine.infer(*images))
print(*calls)
"""


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("FLOWNET_ENGINE_CACHE", str(folder))
    cache._warned.clear()
    return folder


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """What OpenVINO is told, in this process."""
    made: list[str] = []
    for name in ("read_model", "compile_model", "import_model"):
        real = getattr(openvino.Core, name)

        def spy(*arguments, name=name, real=real, **options):
            made.append(name)
            return real(*arguments, **options)

        monkeypatch.setattr(openvino.Core, name, spy)
    return made


@pytest.fixture
def pair(rng):
    return rng.integers(0, 256, (2, 1, 64, 128, 3), dtype=np.uint8)


def opened(bundle, *, manifest=None, threads=1, streams=1):
    manifest = manifest or read_manifest(bundle)
    return open_backend("openvino", bundle, manifest, device=0, threads=threads, streams=streams)


def ran(bundle, pair, **settings):
    backend = opened(bundle, **settings)
    try:
        return backend.run(backend.prepare(pair[0]), backend.prepare(pair[1]))
    finally:
        backend.close()


def compiled_of(backend, pair):
    inputs = dict(zip(("image1", "image2"), pair, strict=True))
    return backend.graphs._model.compiled_for(inputs).compiled


def kept(folder) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("openvino-reada"))


@pytest.mark.parametrize("network", ["tiny", pytest.param("default", marks=needs_int8)])
def test_a_second_process_imports_and_computes_the_very_same(network, tiny_bundle, tmp_path):
    bundle = tiny_bundle if network == "tiny" else DEFAULT_BUNDLE
    said, flows = [], []
    for name, variables in (("none", {"FLOWNET_ENGINE_CACHE": ""}), ("first", {}), ("second", {})):
        out = tmp_path / f"{name}.npy"
        command = [sys.executable, "-c", CHILD, str(bundle), str(out)]
        environment = {**os.environ, **variables}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout.split())
        flows.append(np.load(out))
    compiles = ["read_model", "read_model", "compile_model"]
    assert said == [compiles, compiles, ["import_model"]]
    assert np.ptp(flows[0]) > 0
    np.testing.assert_array_equal(flows[1], flows[0])
    np.testing.assert_array_equal(flows[2], flows[0])


def test_two_sizes_and_all_sizes_are_all_kept(tiny_bundle, tiny_flow, rng, calls, folder):
    pairs = [
        rng.integers(0, 256, (2, batch, height, 64, 3), dtype=np.uint8)
        for batch, height in ((1, 128), (1, 64), (2, 128))
    ]
    once = ["read_model", "compile_model"]
    for methods in (["read_model", *3 * once], ["import_model"] * 3):
        calls.clear()
        backend = opened(tiny_bundle)
        for images in pairs:
            np.testing.assert_allclose(backend.run(*images), tiny_flow(*images), atol=1e-5)
        backend.close()
        assert calls == methods
        assert len(kept(folder)) == 3


def test_another_model_is_not_taken(tiny_bundle, pair, calls, folder, tmp_path):
    ran(tiny_bundle, pair)
    bundle = shutil.copytree(tiny_bundle, tmp_path / "other")
    path, manifest = bundle / "model.onnx", read_manifest(bundle)
    path.write_bytes(path.read_bytes() + b"\x12\x00")  # an empty producer_name, in protobuf
    manifest.files[path.name] = replace(manifest.files[path.name], sha256=sha256_of(path))
    for expected in ("compile_model", "import_model"):
        calls.clear()
        ran(bundle, pair, manifest=manifest)
        assert calls[-1] == expected
    assert len(kept(folder)) == 2


def test_two_graphs_are_kept_apart(tiny_split_bundle, tiny_flow, pair, calls, folder):
    for _ in range(2):
        calls.clear()
        np.testing.assert_allclose(ran(tiny_split_bundle, pair), tiny_flow(*pair), atol=1e-5)
    assert calls == ["import_model"] * 2
    assert len(kept(folder)) == 2


@pytest.mark.parametrize(("threads", "streams"), [(1, 1), (2, 2), (2, 1)])
def test_settings_hold_after_an_import(tiny_bundle, pair, calls, threads, streams):
    if threads > (os.cpu_count() or 1):
        pytest.skip("OpenVINO starts no more threads than there are CPUs")
    ran(tiny_bundle, pair, threads=threads, streams=streams)
    calls.clear()
    backend = opened(tiny_bundle, threads=threads, streams=streams)
    compiled = compiled_of(backend, pair)
    assert calls == ["import_model"]
    assert compiled.get_property("INFERENCE_NUM_THREADS") == threads
    assert compiled.get_property("NUM_STREAMS") == streams
    assert compiled.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32
    assert str(compiled.get_property("PERFORMANCE_HINT")) == "LATENCY"
    assert compiled.get_property("ENABLE_CPU_PINNING") is False
    backend.close()


def _other_isa(monkeypatch, manifest):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")


def _other_cpu(monkeypatch, manifest):
    monkeypatch.setattr(openvino_backend, "cpu_model", lambda: "Other")


def _other_flags(monkeypatch, manifest):
    monkeypatch.setattr(openvino_backend, "cpu_flags", lambda: frozenset({"fpu", "other"}))


def _other_version(monkeypatch, manifest):
    monkeypatch.setattr(openvino, "__version__", f"{openvino.__version__}-other")


@pytest.mark.parametrize("change", [_other_isa, _other_cpu, _other_flags, _other_version])
def test_what_was_compiled_otherwise_is_not_taken(
    tiny_bundle, pair, calls, folder, monkeypatch, change
):
    manifest = read_manifest(tiny_bundle)
    ran(tiny_bundle, pair, manifest=manifest)
    change(monkeypatch, manifest)
    for expected in ("compile_model", "import_model"):
        calls.clear()
        ran(tiny_bundle, pair, manifest=manifest)
        assert calls[-1] == expected
    assert len(kept(folder)) == 2


def test_other_threads_and_other_shapes_are_other_keys(tiny_bundle, pair, calls, folder):
    if (os.cpu_count() or 1) < 2:
        pytest.skip("OpenVINO starts no more threads than there are CPUs")
    ran(tiny_bundle, pair)
    for number, (images, settings) in enumerate(
        ((pair, {"threads": 2}), (pair, {"threads": 2, "streams": 2}), (pair[:, :, :, :64], {}))
    ):
        calls.clear()
        ran(tiny_bundle, np.ascontiguousarray(images), **settings)
        assert calls == ["read_model", "compile_model"]
        assert len(kept(folder)) == number + 2


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, "shortened"])
def test_what_openvino_refuses_is_compiled_and_written_anew(
    tiny_bundle, tiny_flow, pair, calls, folder, caplog, content
):
    ran(tiny_bundle, pair)
    (path,) = kept(folder)
    good = read_cached(path.name)
    write_cached(path.name, good[: len(good) // 2] if content == "shortened" else content)
    calls.clear()
    np.testing.assert_allclose(ran(tiny_bundle, pair), tiny_flow(*pair), atol=1e-5)
    assert calls == ["import_model", "read_model", "compile_model"]
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("compiling anew: OpenVINO refuses what it exported: ")
    assert "\n" not in message
    calls.clear()
    np.testing.assert_allclose(ran(tiny_bundle, pair), tiny_flow(*pair), atol=1e-5)
    assert calls == ["import_model"]


def test_a_damaged_file_never_reaches_openvino(tiny_bundle, pair, calls, folder):
    ran(tiny_bundle, pair)
    (path,) = kept(folder)
    path.write_bytes(path.read_bytes()[:-1])
    calls.clear()
    ran(tiny_bundle, pair)
    assert calls == ["read_model", "compile_model"]


def test_a_defective_model_is_refused_at_load(tiny_bundle, tmp_path, calls, monkeypatch):
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    content = (bundle / "model.onnx").read_bytes()
    (bundle / "model.onnx").write_bytes(content[: len(content) // 2])
    manifest = read_manifest(bundle)
    sha256 = sha256_of(bundle / "model.onnx")
    manifest.files["model.onnx"] = replace(manifest.files["model.onnx"], sha256=sha256)
    messages = []
    for variable in ("", str(tmp_path / "cache"), str(tmp_path / "cache")):
        monkeypatch.setenv("FLOWNET_ENGINE_CACHE", variable)
        with pytest.raises(BackendError, match=r"openvino [\d.]+ cannot load .*model\.onnx: ") as e:
            opened(bundle, manifest=manifest)
        messages.append(str(e.value))
    assert len(set(messages)) == 1
    assert calls == ["read_model"] * 3


def test_where_nothing_can_be_kept_it_runs_all_the_same(
    tiny_bundle, tiny_flow, pair, calls, folder, caplog
):
    folder.write_bytes(b"a file in the way")
    for _ in range(2):
        calls.clear()
        np.testing.assert_allclose(ran(tiny_bundle, pair), tiny_flow(*pair), atol=1e-5)
        assert calls == ["read_model", "read_model", "compile_model"]
    (message,) = [record.getMessage() for record in caplog.records]
    assert f"the cache {folder} does not work" in message


def _no_cache(monkeypatch):
    monkeypatch.setenv("FLOWNET_ENGINE_CACHE", "")


def _large_model(monkeypatch):
    monkeypatch.setattr(openvino_backend, "_LARGEST_KEPT", 10)


@pytest.mark.parametrize("change", [_no_cache, _large_model])
def test_what_is_not_kept_is_not_exported(
    tiny_bundle, tiny_flow, pair, calls, folder, monkeypatch, change
):
    change(monkeypatch)
    monkeypatch.setattr(openvino.CompiledModel, "export_model", None, raising=False)
    for _ in range(2):
        np.testing.assert_allclose(ran(tiny_bundle, pair), tiny_flow(*pair), atol=1e-5)
    assert "import_model" not in calls
    assert not folder.exists() or not kept(folder)


def test_a_model_without_a_manifest_is_not_kept(tiny_bundle, pair, folder):
    model = openvino_backend.SizedModel(openvino, tiny_bundle / "model.onnx", threads=1)
    model(dict(zip(("image1", "image2"), pair, strict=True)))
    assert not folder.exists()


def test_openvino_cannot_export(tiny_bundle, tiny_flow, pair, folder, monkeypatch, caplog):
    def refuse(compiled):
        raise RuntimeError("Not\nImplemented.")

    monkeypatch.setattr(openvino.CompiledModel, "export_model", refuse, raising=False)
    np.testing.assert_allclose(ran(tiny_bundle, pair), tiny_flow(*pair), atol=1e-5)
    assert not kept(folder)
    assert [record.getMessage() for record in caplog.records] == [
        "OpenVINO does not export what it compiled: Not Implemented"
    ]


def test_the_marker_of_a_model_that_was_read(tiny_bundle, calls, folder):
    for _ in range(2):
        opened(tiny_bundle).close()
    assert calls == ["read_model"]
    sha256 = read_manifest(tiny_bundle).files["model.onnx"].sha256
    key = cache_key("openvino-readable", openvino.__version__, sha256)
    assert [path.name for path in folder.iterdir()] == [key]


def test_the_file_that_was_checked_is_what_runs(tiny_bundle, tiny_flow, pair, tmp_path):
    """Whatever becomes of it afterwards, for each size, and in the cache."""
    larger = tuple(np.concatenate((image, image), axis=1) for image in pair)
    bundle = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    with engine.load(bundle, backend="openvino", threads=1) as flow_engine:
        (bundle / "model.onnx").write_bytes(b"another model")
        for images in (pair, larger):
            found = flow_engine.infer(*images)
            np.testing.assert_allclose(found, tiny_flow(*images), atol=1e-5)


def test_a_file_that_changes_while_it_is_opened(tiny_bundle):
    file = replace(read_manifest(tiny_bundle).files["model.onnx"], sha256="0" * 64)
    with pytest.raises(BundleError, match="was changed while it was being opened"):
        openvino_backend.SizedModel(openvino, tiny_bundle / "model.onnx", threads=1, file=file)


@pytest.mark.parametrize("sizes", [1, 3])
def test_images_are_let_go(tiny_bundle, sizes):
    """So that the memory that they are in, as that of a camera, can be given back."""
    shapes = [(64, 64, 3), (64, 128, 3), (128, 64, 3)][:sizes]  # of the third, for any size
    with engine.load(tiny_bundle, backend="openvino", threads=1) as flow_engine:
        for shape in shapes:
            memory = mmap.mmap(-1, 2 * math.prod(shape))
            image1, image2 = np.frombuffer(memory, np.uint8).reshape(2, *shape)
            flow_engine.infer(image1, image2)
            del image1, image2
            memory.close()  # else BufferError
