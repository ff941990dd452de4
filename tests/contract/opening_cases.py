"""The TensorRT backend opens, or raises with the reason; run by test_tensorrt.py.

``TENSORRT_PACKAGE`` names the package whose bindings are tested.
"""

import sys
from pathlib import Path

import pytest

from engine.backends.tensorrt import backend as tensorrt
from engine.backends.tensorrt import package as tensorrt_package
from engine.backends.tensorrt import plugins, session
from engine.backends.tensorrt.package import PLUGIN_LIBRARY
from engine.errors import (
    BackendError,
    BackendNotInstalledError,
    BundleError,
    HardwareMissingError,
    PlanMismatchError,
)
from tests.contract.fake_pycuda import FakeDriver
from tests.contract.real_bindings import double, overloads
from tests.contract.tensorrt_double import (
    PACKAGE,
    PLAN,
    install_driver,
    install_runtime,
    manifest_with,
    open_backend,
)


def test_a_plan_for_another_version_or_gpu(bundle, contexts, bindings, monkeypatch):
    def deserialize(serialized_engine):
        assert serialized_engine == b"plan"
        error = bindings.ILogger.Severity.ERROR
        tensorrt_package.message_log(bindings).log(error, "Version tag does not match")

    install_runtime(monkeypatch, bindings, deserialize)
    built = {
        "tensorrt": r"built by tensorrt 11.0.0.1 for compute capability 9\.0 ",
        "tensorrt_rtx": r"built by tensorrt_rtx 1.5.0.1 for compute capability any \(portable\) ",
    }[PACKAGE]
    with pytest.raises(
        PlanMismatchError,
        match=f"{PLAN} was {built}and does not open with {PACKAGE} {bindings.__version__} on cuda:0"
        r" \(NVIDIA L4, compute capability 8\.9\): Version tag does not match\. Rebuild it here: "
        "python -m export.build_engine --network flownets_slim --weights FILE --precision fp16 ",
    ):
        open_backend(bundle)


def test_a_gpu_that_portable_plans_exclude(bundle, contexts, bindings, monkeypatch):
    install_driver(monkeypatch, FakeDriver(("NVIDIA H200", (9, 0)), ("NVIDIA T4", (7, 5))))
    install_runtime(monkeypatch, bindings, lambda serialized_engine: None)
    error = {"tensorrt": PlanMismatchError, "tensorrt_rtx": HardwareMissingError}[PACKAGE]
    for device, capability in enumerate(("9.0", "7.5")):
        with pytest.raises(
            error, match=rf"{PLAN} .* open .* on cuda:.* compute capability {capability}"
        ):
            open_backend(bundle, device=device)


def test_a_plan_of_another_graph(bundle, contexts, bindings, monkeypatch):
    engine = double(bindings.ICudaEngine, num_io_tensors=1, get_tensor_name=lambda index: "input.1")
    install_runtime(monkeypatch, bindings, lambda serialized_engine: engine)
    with pytest.raises(
        BackendError, match=r"has the tensors \['input.1'\]; expected \['flow', 'im"
    ) as caught:
        open_backend(bundle)
    assert not isinstance(caught.value, HardwareMissingError)


def test_a_plan_with_a_flow_of_another_type(bundle, contexts, bindings):
    contexts.types["flow"] = bindings.DataType.HALF
    with pytest.raises(BackendError, match=r"expected images of UINT8 and a flow of FLOAT\. Reb"):
        open_backend(bundle)


def test_a_real_runtime_that_does_not_start_or_read_the_plan(bundle, cu, bindings):
    # With stub libraries, the real factory fails as it does without a driver.
    error, text = {
        "tensorrt": (HardwareMissingError, "does not start on cuda:0"),
        "tensorrt_rtx": (PlanMismatchError, "does not open with .* 8.9.: .*erializ"),
    }[PACKAGE]
    (bundle / PLAN).write_bytes(b"not a plan" * 100)
    with pytest.raises(error, match=text):
        open_backend(bundle, manifest=manifest_with(PLAN, bundle=bundle))


def test_a_bundle_without_a_plan(tmp_path, cu):
    manifest = manifest_with("model.onnx")
    with pytest.raises(BackendError, match=r"has no TensorRT plan; expected model.plan or model.rtx"
                       r"\. Build one: python -m export.build_engine"):  # fmt: skip
        tensorrt.TensorRTBackend(tmp_path, manifest, device=0, threads=None, streams=1)


def test_the_first_package_that_loads_and_has_a_plan(tmp_path, contexts, monkeypatch):
    other = ({*tensorrt_package.PLAN_FILES} - {PACKAGE}).pop()
    monkeypatch.setitem(sys.modules, other, None)
    for name in tensorrt_package.PLAN_FILES.values():
        (tmp_path / name).write_bytes(b"plan")
    manifest = manifest_with("model.plan", "model.rtx", bundle=tmp_path)
    opened = tensorrt.TensorRTBackend(tmp_path, manifest, device=0, threads=2, streams=2)
    assert opened.runtime_version.split()[0] == PACKAGE
    opened.close()


@pytest.fixture
def opened_files(contexts, bindings, monkeypatch) -> list[bytes]:
    """The contents that TensorRT reads, in order, of plugin libraries and plans."""
    contents: list[bytes] = []
    engine = bindings.Runtime(tensorrt_package.message_log(bindings)).deserialize_cuda_engine(b"")

    def deserialize(serialized_engine):
        contents.append(serialized_engine)
        return engine

    def load_library(plugin_path):
        contents.append(Path(plugin_path).read_bytes())
        return object()

    install_runtime(monkeypatch, bindings, deserialize)
    registry = double(bindings.IPluginRegistry, load_library=load_library)
    monkeypatch.setattr(bindings, "get_plugin_registry", lambda: registry)
    monkeypatch.setattr(plugins, "_loaded", set())
    return contents


def test_a_plugin_library_is_loaded_once_and_before_the_plan(bundle, opened_files):
    (bundle / PLUGIN_LIBRARY).write_bytes(b"library")
    manifest = manifest_with(PLAN, PLUGIN_LIBRARY, bundle=bundle)
    for _ in range(2):
        open_backend(bundle, manifest=manifest).close()
    assert opened_files == [b"library", b"plan", b"plan"]


@pytest.mark.parametrize("name", [PLAN, PLUGIN_LIBRARY])
def test_a_file_that_changes_between_check_and_open_is_never_parsed(bundle, opened_files, name):
    (bundle / PLUGIN_LIBRARY).write_bytes(b"library")
    manifest = manifest_with(PLAN, PLUGIN_LIBRARY, bundle=bundle)
    (bundle / name).write_bytes(b"changed")
    with pytest.raises(BundleError, match=rf"{name} was changed while it was being opened; load"):
        open_backend(bundle, manifest=manifest)
    assert b"changed" not in opened_files


def test_a_library_that_changes_while_it_is_loaded(bundle, opened_files, monkeypatch):
    """TensorRT reads a private copy of the checked bytes, which is removed afterwards."""
    library = bundle / PLUGIN_LIBRARY
    library.write_bytes(b"library")
    manifest = manifest_with(PLAN, PLUGIN_LIBRARY, bundle=bundle)
    load_plugins = session.load_plugins
    paths = []

    def change_then_load(runtime, name, content):
        library.write_bytes(b"changed")
        registry = runtime.module.get_plugin_registry()
        load_library = registry.load_library
        registry.load_library = lambda plugin_path: (
            paths.append(plugin_path) or load_library(plugin_path)
        )
        load_plugins(runtime, name, content)

    monkeypatch.setattr(session, "load_plugins", change_then_load)
    open_backend(bundle, manifest=manifest).close()
    assert opened_files == [b"library", b"plan"]
    assert Path(paths[0]).name == PLUGIN_LIBRARY
    assert not Path(paths[0]).parent.exists()


def test_no_gpu(bundle, monkeypatch):
    install_driver(monkeypatch, FakeDriver())
    with pytest.raises(
        HardwareMissingError, match=r"CUDA does not start .*no CUDA-capable device is detec"
    ):
        open_backend(bundle)


def test_a_gpu_that_does_not_exist(bundle, cu):
    with pytest.raises(HardwareMissingError, match="GPU 2 does not exist; expected 0 to 1 here"):
        open_backend(bundle, device=2)


def test_pycuda_missing(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycuda", None)
    with pytest.raises(BackendNotInstalledError, match=r"need PyCUDA .*pip install pycuda==2026.1"):
        open_backend(bundle)


def test_driver_missing(bundle, tmp_path, monkeypatch):
    (tmp_path / "pycuda").mkdir()
    (tmp_path / "pycuda/__init__.py").touch()
    (tmp_path / "pycuda/driver.py").write_text(
        "raise ImportError('libcuda.so.1: cannot open shared object file')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        HardwareMissingError, match=r"PyCUDA does not load .libcuda.so.1: .*NVIDIA d"
    ):
        open_backend(bundle)


def test_tensorrt_missing(bundle, cu, monkeypatch):
    monkeypatch.setitem(sys.modules, PACKAGE, None)
    with pytest.raises(BackendNotInstalledError, match=rf"TensorRT is not installed \({PACKAGE}: .*"
                       r"pip install 'flownet-engine\[tensorrt-rtx\]'"):  # fmt: skip
        open_backend(bundle)


def test_doubles_refuse_calls_that_the_real_classes_lack(bindings):
    context = double(bindings.IExecutionContext, set_input_shape=lambda name, shape: True)
    assert context.set_input_shape("image1", (1, 64, 64, 3))
    with pytest.raises(AttributeError):
        context.set_binding_shape(0, (1, 64, 64, 3))
    with pytest.raises(TypeError, match="set_input_shape does not take"):
        context.set_input_shape("image1", dims=(1, 64, 64, 3))
    with pytest.raises(AssertionError, match=r"IExecutionContext\.execute_v2 is used"):
        context.execute_v2([])
    with pytest.raises(AttributeError):
        double(bindings.IExecutionContext, enqueue=lambda: None)
    (signature,) = overloads(bindings.IExecutionContext.execute_async_v3)
    assert str(signature) == "(stream_handle)"
