import logging
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import engine
from engine.backends import registry as backends
from engine.backends.onnxruntime import backend as onnxruntime_backend
from engine.backends.registry import import_runtime, open_backend
from engine.bundle.manifest import BundleFile, read_manifest
from engine.errors import (
    BackendError,
    BackendNotInstalledError,
    InputError,
    PlanMismatchError,
)


def opened(name, bundle, *, manifest=None, device=0, threads=1, streams=1):
    manifest = manifest or read_manifest(bundle)
    return open_backend(name, bundle, manifest, device=device, threads=threads, streams=streams)


@pytest.fixture
def openvino():
    return pytest.importorskip("openvino", reason="openvino is an optional extra")


@pytest.fixture
def pair(rng):
    return rng.integers(0, 256, (2, 1, 64, 128, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_cpu_backends_run(name, tiny_bundle, tiny_flow, pair):
    if name == "openvino":
        pytest.importorskip("openvino", reason="openvino is an optional extra")
    backend = opened(name, tiny_bundle)
    assert (backend.name, backend.device, backend.profile) == (name, "cpu", None)
    assert backend.runtime_version[0].isdigit()
    flow = backend.run(*pair)
    assert flow.dtype == np.float32
    np.testing.assert_allclose(flow, tiny_flow(*pair), atol=1e-5)
    assert backend.device_ms() is None
    backend.close()


@pytest.mark.parametrize(
    ("name", "module", "command"),
    [
        ("openvino", "openvino", "pip install openvino"),
        ("onnxruntime", "onnxruntime", "pip install onnxruntime"),
        ("onnxruntime-cuda", "onnxruntime", r'pip install "onnxruntime-gpu\[cuda,cudnn\]"'),
        ("onnxruntime-tensorrt", "onnxruntime", r"onnxruntime-gpu\[cuda,cudnn\]\" tensorrt"),
        ("onnxruntime-tensorrt-rtx", "onnxruntime", "pip install onnxruntime-trt-rtx"),
    ],
)
def test_not_installed(monkeypatch, tiny_bundle, name, module, command):
    monkeypatch.setitem(sys.modules, module, None)
    message = f"backend {name} needs the package {module}, which is not installed.*{command}"
    with pytest.raises(BackendNotInstalledError, match=message):
        opened(name, tiny_bundle)


@pytest.mark.parametrize(
    "source", ["raise ImportError('libx.so.9: not\\nfound')", "import no_such_dependency"]
)
def test_broken_installation(monkeypatch, tmp_path, source):
    (tmp_path / "broken_runtime.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    message = "package broken_runtime is installed but does not load: .*Reinstall it: pip install b"
    with pytest.raises(BackendError, match=message) as caught:
        import_runtime("broken_runtime", "b", install="pip install b")
    assert not isinstance(caught.value, BackendNotInstalledError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_bundle_without_the_file(name, tiny_bundle):
    pytest.importorskip(name, reason=f"{name} is not installed")
    manifest = read_manifest(tiny_bundle)
    manifest = replace(manifest, files={"model.plan": manifest.files["model.onnx"]})
    message = rf"backend {name} needs model\.onnx; .* --precision fp32 --targets {name} .* -o "
    with pytest.raises(BackendError, match=message):
        opened(name, tiny_bundle, manifest=manifest)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_file_that_is_no_model(name, tiny_bundle, tmp_path):
    pytest.importorskip(name, reason=f"{name} is not installed")
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    model = bundle / "model.onnx"
    model.write_bytes(b"no model at all")
    file = BundleFile.of(model, role="network", precision="fp32", tool="none")
    manifest = replace(read_manifest(bundle), files={"model.onnx": file})
    with pytest.raises(BackendError, match=rf"{name} [\d.]+ cannot load .*model\.onnx: "):
        opened(name, bundle, manifest=manifest)


def test_unknown_backend(tiny_bundle):
    message = r"unknown backend 'tensort'; expected one of auto, .*\. Did you mean 'tensorrt'\?"
    with pytest.raises(InputError, match=message):
        opened("tensort", tiny_bundle)


class Good:
    device = "cpu"

    def __init__(self, bundle, manifest, *, device, threads, streams):
        self.arguments = device, threads, streams


class Missing:
    def __init__(self, bundle, manifest, *, device, threads, streams):
        raise BackendNotInstalledError("pip install it")


class Mismatched:
    def __init__(self, bundle, manifest, *, device, threads, streams):
        raise PlanMismatchError("another GPU")


class Defective:
    def __init__(self, bundle, manifest, *, device, threads, streams):
        raise ZeroDivisionError


def use_backends(monkeypatch, **classes):
    monkeypatch.setitem(sys.modules, "fake_runtimes", SimpleNamespace(**classes))
    monkeypatch.setattr(backends, "BACKENDS", {name: f"fake_runtimes:{name}" for name in classes})
    monkeypatch.setattr(backends, "AUTO_ORDER", tuple(classes))


def test_what_auto_takes_and_what_it_never_takes():
    assert backends.AUTO_ORDER == ("tensorrt", "onnxruntime-cuda", "openvino", "onnxruntime")
    others = {"onnxruntime-tensorrt", "onnxruntime-tensorrt-rtx"}
    assert set(backends.BACKENDS) == {*backends.AUTO_ORDER, *others}


def test_auto_takes_the_first_that_opens_and_says_why(monkeypatch, caplog, tiny_bundle):
    use_backends(monkeypatch, missing=Missing, other=Mismatched, good=Good, better=Defective)
    with caplog.at_level(logging.INFO, logger="engine"):
        backend = opened("auto", tiny_bundle, device=2, threads=3, streams=2)
    assert isinstance(backend, Good)
    assert backend.arguments == (2, 3, 2)
    assert caplog.messages == [
        "backend missing does not open: pip install it",
        "backend other does not open: another GPU",
        "backend good opens on cpu",
    ]


def test_auto_lists_all_reasons(monkeypatch, tiny_bundle):
    use_backends(monkeypatch, missing=Missing, other=Mismatched)
    message = r"no backend can run .* here\. missing: pip install it; other: another GPU\.$"
    with pytest.raises(BackendError, match=message):
        opened("auto", tiny_bundle)


def test_auto_does_not_hide_defects(monkeypatch, tiny_bundle):
    use_backends(monkeypatch, bad=Defective, good=Good)
    with pytest.raises(ZeroDivisionError):
        opened("auto", tiny_bundle)


def test_a_named_backend_never_falls_back(monkeypatch, tiny_bundle):
    use_backends(monkeypatch, missing=Missing, good=Good)
    with pytest.raises(BackendNotInstalledError, match="pip install it"):
        opened("missing", tiny_bundle)


@pytest.mark.parametrize(("threads", "streams"), [(1, 1), (2, 2)])
def test_openvino_settings(openvino, tiny_bundle, pair, threads, streams):
    if threads > os.cpu_count():
        pytest.skip("OpenVINO starts no more threads than there are CPUs")
    backend = opened("openvino", tiny_bundle, threads=threads, streams=streams)
    inputs = dict(zip(("image1", "image2"), pair, strict=True))
    compiled = backend.graphs._model.compiled_for(inputs).compiled
    assert compiled.get_property("INFERENCE_NUM_THREADS") == threads
    assert compiled.get_property("NUM_STREAMS") == streams
    assert compiled.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32
    assert compiled.get_property("ENABLE_CPU_PINNING") is False
    backend.close()


def test_openvino_is_compiled_for_each_of_two_sizes_and_then_for_all(
    openvino, tiny_bundle, tiny_flow, rng
):
    backend = opened("openvino", tiny_bundle)
    model = backend.graphs._model
    pairs = [
        rng.integers(0, 256, (2, batch, height, 64, 3), dtype=np.uint8)
        for batch, height in ((1, 128), (1, 64), (2, 128), (1, 192), (1, 128), (1, 64))
    ]
    compiled = []
    for images in pairs:
        np.testing.assert_allclose(backend.run(*images), tiny_flow(*images), atol=1e-5)
        inputs = dict(zip(("image1", "image2"), images, strict=True))
        compiled.append(model.compiled_for(inputs).compiled)
    first, second, third, fourth, *again = compiled
    assert first is again[0]
    assert second is again[1]
    assert third is fourth
    assert len({first, second, third}) == 3
    assert [tuple(x.inputs[0].shape) for x in (first, second)] == [(1, 128, 64, 3), (1, 64, 64, 3)]
    assert third.inputs[0].partial_shape.is_dynamic
    backend.close()


def test_openvino_writes_to_nothing_that_it_has_returned(openvino, tiny_bundle, tiny_flow, rng):
    """Not where the size is compiled for, and results are written in place, nor where any is."""
    backend = opened("openvino", tiny_bundle)
    heights = (128, 64, 192) * 3
    pairs = [rng.integers(0, 256, (2, 1, height, 64, 3), dtype=np.uint8) for height in heights]
    flows = [backend.run(*images) for images in pairs]
    for images, flow in zip(pairs, flows, strict=True):
        assert flow.flags.writeable
        np.testing.assert_allclose(flow, tiny_flow(*images), atol=1e-5)
    backend.close()


PHONE_HOME = """
import sys
import engine
engine.load(sys.argv[1], backend="openvino", threads=1).close()
print([name for name in sys.modules if name.startswith("openvino_telemetry")])
import openvino
print(openvino.convert_model(sys.argv[1] + "/model.onnx").get_ops()[0].get_type_name())
"""


def test_openvino_does_not_phone_home(openvino, tiny_bundle, tmp_path):
    # Where it does, it first writes an identifier into the user's home.
    done = subprocess.run(
        [sys.executable, "-c", PHONE_HOME, tiny_bundle],
        cwd=Path(engine.__file__).parents[1],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["[]", "Parameter"]
    assert list(tmp_path.iterdir()) == []


def test_openvino_imported_before_stays_as_it_is(openvino, monkeypatch, tiny_bundle):
    telemetry = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "openvino_telemetry", telemetry)
    opened("openvino", tiny_bundle).close()
    assert sys.modules["openvino_telemetry"] is telemetry


# Beside its pool, which has one thread less than it is told, each caller is a thread.
@pytest.mark.parametrize(
    ("threads", "streams", "expected"), [(3, 1, 3), (None, 1, 5), (6, 2, 5), (4, 4, 1)]
)
def test_onnxruntime_threads(monkeypatch, tiny_bundle, threads, streams, expected):
    monkeypatch.setattr(onnxruntime_backend, "available_threads", lambda: 5)
    backend = opened("onnxruntime", tiny_bundle, threads=threads, streams=streams)
    session = backend.graphs._model.session
    options = session.get_session_options()
    assert options.intra_op_num_threads == expected
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"
    backend.close()
