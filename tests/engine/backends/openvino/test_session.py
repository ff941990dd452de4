"""OpenVINO: settings, one model per size, memory of inputs and outputs, and its model cache."""

import math
import mmap
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import engine
from engine.backends.openvino.session import compile_model
from engine.backends.registry import open_backend
from engine.bundle.manifest import read_manifest, write_manifest
from engine.bundle.shipped import DEFAULT_BUNDLE
from engine.errors import BackendError
from engine.system import cache
from tests.support.cpu import needs_int8
from tests.support.tiny_network import manifest_for, tiny_model

openvino = pytest.importorskip("openvino", reason="openvino is an optional extra")

ROOT = Path(__file__).parents[4]


@pytest.fixture
def pair(rng):
    return rng.integers(0, 256, (2, 1, 64, 128, 3), dtype=np.uint8)


def opened(bundle, *, threads=1, streams=1):
    manifest = read_manifest(bundle)
    return open_backend("openvino", bundle, manifest, device=0, threads=threads, streams=streams)


def compiled_for(backend, pair):
    inputs = dict(zip(("image1", "image2"), pair, strict=True))
    return backend.graphs._model.slots_for(inputs).compiled


@pytest.mark.parametrize("kind", ["tiny_bundle", "tiny_split_bundle"])
def test_runs(kind, request, tiny_flow, pair):
    backend = opened(request.getfixturevalue(kind))
    assert (backend.name, backend.device, backend.profile) == ("openvino", "cpu", None)
    assert backend.runtime_version[0].isdigit()
    flow = backend.run(*map(backend.prepare, pair))
    assert flow.dtype == np.float32
    np.testing.assert_allclose(flow, tiny_flow(*pair), atol=1e-5)
    assert backend.device_ms() is None
    backend.close()


def test_a_negative_scale_is_refused(tmp_path):
    """OpenVINO computes with -1, and damages the process's memory."""
    model = tiny_model()
    (scales,) = (tensor for tensor in model.graph.initializer if tensor.name == "scales")
    scales.CopyFrom(numpy_helper.from_array(np.array([1, -1, 64, 64], np.float32), "scales"))
    onnx.save(model, tmp_path / "model.onnx")
    write_manifest(tmp_path, manifest_for(tmp_path))
    with pytest.raises(BackendError, match=r"sizes \[1.0, -1.0, 64.0, 64.0\]; expected positive"):
        opened(tmp_path)


@pytest.mark.parametrize("is_cached", [False, True])
@pytest.mark.parametrize(("threads", "streams"), [(1, 1), (2, 2), (2, 1)])
def test_settings(tiny_bundle, pair, threads, streams, is_cached, monkeypatch, tmp_path):
    if threads > os.cpu_count():
        pytest.skip("OpenVINO starts no more threads than there are CPUs")
    if is_cached:
        monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
        opened(tiny_bundle, threads=threads, streams=streams).run(*pair)
    backend = opened(tiny_bundle, threads=threads, streams=streams)
    compiled = compiled_for(backend, pair)
    assert compiled.get_property("LOADED_FROM_CACHE") is is_cached
    assert compiled.get_property("INFERENCE_NUM_THREADS") == threads
    assert compiled.get_property("NUM_STREAMS") == streams
    assert compiled.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32
    assert str(compiled.get_property("PERFORMANCE_HINT")) == "LATENCY"
    assert compiled.get_property("ENABLE_CPU_PINNING") is False
    backend.close()


def test_two_sizes_have_a_model_each_and_all_others_share_one(tiny_bundle, tiny_flow, rng):
    backend = opened(tiny_bundle)
    pairs = [
        rng.integers(0, 256, (2, batch, height, 64, 3), dtype=np.uint8)
        for batch, height in ((1, 128), (1, 64), (2, 128), (1, 192), (1, 128), (1, 64))
    ]
    compiled = []
    for images in pairs:
        np.testing.assert_allclose(backend.run(*images), tiny_flow(*images), atol=1e-5)
        compiled.append(compiled_for(backend, images))
    first, second, third, fourth, *again = compiled
    assert [first, second] == again
    assert third is fourth
    assert len({first, second, third}) == 3
    assert [tuple(x.inputs[0].shape) for x in (first, second)] == [(1, 128, 64, 3), (1, 64, 64, 3)]
    assert third.inputs[0].partial_shape.is_dynamic
    backend.close()


def test_a_size_that_is_used_often_gets_a_model_too(tiny_bundle, tiny_flow, rng, monkeypatch):
    monkeypatch.setattr("engine.backends.openvino.session._OFTEN", 2)
    monkeypatch.setattr("engine.backends.openvino.session._IN_ALL", 3)
    backend = opened(tiny_bundle)
    heights = (64, 128, 192, 256, 192, 192, 256, 256, 256, 192, 64)
    shared = []
    for height in heights:
        images = rng.integers(0, 256, (2, 1, height, 64, 3), dtype=np.uint8)
        compiled = compiled_for(backend, images)
        shared.append(compiled.inputs[0].partial_shape.is_dynamic)
    # 192 at its third use; 256 not, as three sizes have one.
    assert shared == [False, False, True, True, True, False, True, True, True, False, False]
    for height in (64, 192, 256):
        images = rng.integers(0, 256, (2, 1, height, 64, 3), dtype=np.uint8)
        np.testing.assert_allclose(backend.run(*images), tiny_flow(*images), atol=1e-5)
    backend.close()


def test_other_sizes_do_not_wait_for_the_model_of_one(tiny_bundle, tiny_flow, rng, monkeypatch):
    begun, goes_on = threading.Event(), threading.Event()

    def compile_slowly(openvino, path, model, threads, streams, shapes):
        if shapes is not None and shapes["image1"][1] == 192:
            begun.set()
            assert goes_on.wait(60)
        return compile_model(openvino, path, model, threads, streams, shapes)

    monkeypatch.setattr("engine.backends.openvino.session.compile_model", compile_slowly)
    monkeypatch.setattr("engine.backends.openvino.session._OFTEN", 1)
    backend = opened(tiny_bundle)
    pairs = {
        height: rng.integers(0, 256, (2, 1, height, 64, 3), dtype=np.uint8)
        for height in (64, 128, 192, 320)
    }
    for height in (64, 128, 192):
        backend.run(*pairs[height])
    with ThreadPoolExecutor(1) as pool:
        second_use = pool.submit(backend.run, *pairs[192])
        assert begun.wait(60)
        for height in (64, 128, 320):
            flow = backend.run(*pairs[height])
            np.testing.assert_allclose(flow, tiny_flow(*pairs[height]), atol=1e-5)
        assert not second_use.done()
        goes_on.set()
        np.testing.assert_allclose(second_use.result(), tiny_flow(*pairs[192]), atol=1e-5)
    backend.close()


def test_uses_of_endless_sizes_take_no_endless_memory(tiny_bundle, monkeypatch):
    monkeypatch.setattr("engine.backends.openvino.session._REMEMBERED", 4)
    backend = opened(tiny_bundle)
    for height in range(64, 64 * 12, 64):
        compiled_for(backend, np.zeros((2, 1, height, 64, 3), np.uint8))
    assert len(backend.graphs._model._uses) <= 4
    backend.close()


def test_of_a_large_file_only_the_first_size_has_a_model(tiny_bundle, tiny_flow, rng, monkeypatch):
    monkeypatch.setattr("engine.backends.openvino.session._LARGE", 1)
    backend = opened(tiny_bundle)
    pairs = [rng.integers(0, 256, (2, 1, height, 64, 3), dtype=np.uint8) for height in (128, 64)]
    for images in pairs:
        np.testing.assert_allclose(backend.run(*images), tiny_flow(*images), atol=1e-5)
    first, second = (compiled_for(backend, images) for images in pairs)
    assert first.inputs[0].partial_shape.is_static
    assert second.inputs[0].partial_shape.is_dynamic
    backend.close()


def test_later_runs_do_not_write_to_returned_flows(tiny_bundle, tiny_flow, rng):
    """Neither with the model of one size, which writes flows in place, nor with the shared one."""
    backend = opened(tiny_bundle)
    heights = (128, 64, 192) * 3
    pairs = [rng.integers(0, 256, (2, 1, height, 64, 3), dtype=np.uint8) for height in heights]
    flows = [backend.run(*images) for images in pairs]
    for images, flow in zip(pairs, flows, strict=True):
        assert flow.flags.writeable
        np.testing.assert_allclose(flow, tiny_flow(*images), atol=1e-5)
    backend.close()


@pytest.mark.parametrize("sizes", [1, 3])
def test_images_are_released(tiny_bundle, sizes):
    """So that the owner of their memory, for instance a camera driver, can reuse it."""
    shapes = [(64, 64, 3), (64, 128, 3), (128, 64, 3)][:sizes]  # the third one is dynamic
    with engine.load(tiny_bundle, backend="openvino", threads=1) as flow_engine:
        for shape in shapes:
            memory = mmap.mmap(-1, 2 * math.prod(shape))
            image1, image2 = np.frombuffer(memory, np.uint8).reshape(2, *shape)
            flow_engine.infer(image1, image2)
            del image1, image2
            memory.close()  # raises BufferError while an array refers to it


TELEMETRY = """
import sys
import engine
engine.load(sys.argv[1], backend="openvino", threads=1).close()
print([name for name in sys.modules if name.startswith("openvino_telemetry")])
import openvino
print(openvino.convert_model(sys.argv[1] + "/model.onnx").get_ops()[0].get_type_name())
"""


def run_python(code, *arguments, **variables):
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_telemetry_is_off(tiny_bundle, tmp_path):
    # Telemetry would first write an identifier into the home directory.
    assert run_python(TELEMETRY, tiny_bundle, HOME=str(tmp_path)) == ["[]", "Parameter"]
    assert list(tmp_path.iterdir()) == []


def test_telemetry_that_is_already_imported_stays(monkeypatch, tiny_bundle):
    telemetry = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "openvino_telemetry", telemetry)
    opened(tiny_bundle).close()
    assert sys.modules["openvino_telemetry"] is telemetry


# Prints whether the model was loaded from the cache, and saves the flow of seeded images.
CACHED_RUN = """
import sys
import numpy as np
import engine

bundle, out = sys.argv[1:]
images = np.random.default_rng(0).integers(0, 256, (2, 128, 192, 3), dtype=np.uint8)
with engine.load(bundle, backend="openvino", threads=1, refine="none") as flow_engine:
    np.save(out, flow_engine.infer(*images))
    inputs = {"image1": images[:1], "image2": images[1:]}
    compiled = flow_engine.backend.graphs._model.slots_for(inputs).compiled
print(compiled.get_property("LOADED_FROM_CACHE"))
"""


@pytest.mark.parametrize("network", ["tiny", pytest.param("default", marks=needs_int8)])
def test_a_second_process_loads_from_the_cache_and_computes_the_same_flow(
    network, tiny_bundle, tmp_path
):
    bundle = tiny_bundle if network == "tiny" else DEFAULT_BUNDLE
    flows = []
    for folder, expected in (("", "False"), ("cache", "False"), ("cache", "True")):
        out = tmp_path / f"{len(flows)}.npy"
        variables = {cache.VARIABLE: folder and str(tmp_path / folder)}
        assert run_python(CACHED_RUN, bundle, out, **variables) == [expected]
        flows.append(np.load(out))
    assert np.ptp(flows[0]) > 0
    np.testing.assert_array_equal(flows[1], flows[0])
    np.testing.assert_array_equal(flows[2], flows[0])
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["openvino"]


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, "half"])
def test_a_damaged_cache_file_is_replaced(
    tiny_bundle, tiny_flow, pair, monkeypatch, tmp_path, content
):
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path))
    opened(tiny_bundle).run(*pair)
    (file,) = (tmp_path / "openvino").iterdir()
    whole = file.read_bytes()
    file.chmod(0o600)
    file.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    for is_cached in (False, True):
        backend = opened(tiny_bundle)
        np.testing.assert_allclose(backend.run(*pair), tiny_flow(*pair), atol=1e-5)
        assert compiled_for(backend, pair).get_property("LOADED_FROM_CACHE") is is_cached
        backend.close()


def test_a_cache_that_cannot_be_written(tiny_bundle, tiny_flow, pair, monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(b"in the way")
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "file"))
    backend = opened(tiny_bundle)
    np.testing.assert_allclose(backend.run(*pair), tiny_flow(*pair), atol=1e-5)
    assert not compiled_for(backend, pair).get_property("LOADED_FROM_CACHE")
    backend.close()
