"""Build a plan with ``tensorrt``, on doubles of the real classes; run by test_tensorrt.py."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from engine.backends.tensorrt import package as tensorrt_package
from engine.errors import BackendError
from export.tensorrt import correlation_form as correlation
from export.tensorrt.correlation_form import plugin_library
from export.tensorrt.plan_from_onnx import BuiltPlan, PlanBuildError, build_plan
from tests.contract.fake_pycuda import FakeDriver
from tests.contract.real_bindings import double
from tests.contract.tensorrt_double import PROFILE, install_driver


class Builds:
    """Doubles of builder, network, parser and config that record their calls."""

    def __init__(self, trt: ModuleType) -> None:
        self.trt = trt
        self.plan: bytes | None = b"a plan"
        self.faults: list[Any] = []
        self.inputs = ["image1", "image2"]
        self.cleared: list[Any] = []
        self.shapes: dict[str, tuple[Any, Any, Any]] = {}
        self.profiles: list[Any] = []
        self.given: list[bytes] = []
        self.attached: list[Any] = []
        self.foreign = b"none"
        self.measured = b"timings"

    def builder(self, logger: Any) -> Any:
        assert isinstance(logger, self.trt.ILogger)
        return double(
            self.trt.real.Builder,
            create_network=self._network,
            create_builder_config=lambda: double(
                self.trt.IBuilderConfig,
                clear_flag=self.cleared.append,
                add_optimization_profile=lambda profile: self.profiles.append(profile) or 0,
                create_timing_cache=self._timing_cache,
                set_timing_cache=self._attach,
                get_timing_cache=lambda: self.attached[-1] if self.attached else None,
            ),
            create_optimization_profile=lambda: double(
                self.trt.IOptimizationProfile, set_shape=self._set_shape
            ),
            build_serialized_network=lambda network, config: self.plan,
        )

    def _timing_cache(self, serialized_timing_cache: bytes) -> Any:
        self.given.append(serialized_timing_cache)
        return double(self.trt.ITimingCache, serialize=lambda: bytearray(self.measured))

    def _attach(self, cache: Any, ignore_mismatch: bool) -> bool:
        assert isinstance(cache, self.trt.ITimingCache)
        assert not ignore_mismatch
        if self.given[-1] == self.foreign:
            return False
        self.attached.append(cache)
        return True

    def _network(self, flags: int = 0) -> Any:
        flag = self.trt.NetworkDefinitionCreationFlag
        assert flags == 1 << int(flag.STRONGLY_TYPED) | 1 << int(flag.PREFER_AOT_PYTHON_PLUGINS)
        return double(
            self.trt.INetworkDefinition,
            num_inputs=len(self.inputs),
            get_input=lambda index: SimpleNamespace(name=self.inputs[index]),
        )

    def _set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        self.shapes[input] = (min, opt, max)

    def parser(self, network: Any, logger: Any) -> Any:
        return double(
            self.trt.real.OnnxParser,
            parse_from_file=lambda model: not self.faults,
            num_errors=len(self.faults),
            get_error=lambda index: self.faults[index],
        )


@pytest.fixture
def builds(bindings, cu, monkeypatch) -> Builds:
    made = Builds(bindings)
    monkeypatch.setattr(bindings, "Builder", made.builder)
    monkeypatch.setattr(bindings, "OnnxParser", made.parser)
    return made


@pytest.fixture
def loaded(bindings, monkeypatch, tmp_path_factory) -> list[str]:
    """Names of the plugin libraries that TensorRT loads; $FLOW_KERNELS contains a unique one."""
    libraries: list[str] = []
    folder = tmp_path_factory.mktemp("kernels")
    (folder / tensorrt_package.PLUGIN_LIBRARY).write_text(str(folder))
    monkeypatch.setenv("FLOW_KERNELS", str(folder))
    registry = double(
        bindings.IPluginRegistry,
        load_library=lambda plugin_path: libraries.append(Path(plugin_path).name) or object(),
    )
    monkeypatch.setattr(bindings, "get_plugin_registry", lambda: registry)
    return libraries


def build(folder, *, precision: str = "fp16", correlation: str = "onnx") -> BuiltPlan:
    model, plan = folder / "model.onnx", folder / "model.plan"
    return build_plan(model, plan, PROFILE, precision=precision, correlation=correlation)


def test_plan_is_for_this_gpu(builds, bindings, tmp_path):
    built = build(tmp_path)
    assert (built.file, built.bytes, built.compute_capability) == ("model.plan", 6, "8.9")
    assert built.tool == f"tensorrt {bindings.__version__}"
    assert [path.name for path in tmp_path.iterdir()] == ["model.plan"]
    assert (tmp_path / "model.plan").read_bytes() == b"a plan"
    shapes = ((1, 64, 64, 3), (1, 64, 128, 3), (4, 128, 256, 3))
    assert builds.shapes == {"image1": shapes, "image2": shapes}
    assert len(builds.profiles) == 1


def test_tf32_is_off_for_fp32_only(builds, bindings, tmp_path):
    build(tmp_path, precision="fp16")
    assert builds.cleared == []
    build(tmp_path, precision="fp32")
    assert builds.cleared == [bindings.BuilderFlag.TF32]


@pytest.fixture
def cache(monkeypatch, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("FLOWNET_ENGINE_CACHE", str(folder))
    return folder / "data"


def test_a_build_uses_the_timings_of_the_previous_one(builds, cache, tmp_path):
    build(tmp_path)
    assert builds.given == [b""]
    (file,) = cache.iterdir()
    assert file.name.startswith("tensorrt-timings-")
    assert file.read_bytes()[32:] == b"timings"
    builds.measured = b"timings and more"
    build(tmp_path, precision="fp32")
    assert builds.given == [b"", b"timings"]
    assert file.read_bytes()[32:] == b"timings and more"


@pytest.mark.parametrize(
    "gpu", [("NVIDIA L4", (8, 9)), ("NVIDIA L40", (8, 9)), ("NVIDIA L4", (9, 0))]
)
def test_timings_are_stored_per_gpu(builds, cache, tmp_path, monkeypatch, gpu):
    build(tmp_path)
    install_driver(monkeypatch, FakeDriver(gpu))
    build(tmp_path)
    assert builds.given[1] == (b"timings" if gpu == ("NVIDIA L4", (8, 9)) else b"")


def test_timings_are_stored_per_tensorrt_version(builds, bindings, cache, tmp_path, monkeypatch):
    build(tmp_path)
    monkeypatch.setattr(bindings, "__version__", "11.99")
    build(tmp_path)
    assert builds.given == [b"", b""]


def test_timings_that_tensorrt_refuses_are_replaced(builds, cache, tmp_path):
    build(tmp_path)
    builds.foreign, builds.measured = b"timings", b"new timings"
    build(tmp_path)
    assert builds.given == [b"", b"timings", b""]
    assert len(builds.attached) == 2
    (file,) = cache.iterdir()
    assert file.read_bytes()[32:] == b"new timings"


def test_a_build_without_timings(builds, cache, tmp_path):
    builds.foreign = b""
    assert build(tmp_path).bytes == 6
    assert not builds.attached
    assert not cache.exists()


def test_parser_errors_are_listed(builds, bindings, tmp_path):
    for node, text in (("Conv", "weights are missing"), ("", "and one more")):
        builds.faults.append(
            double(
                bindings.ParserError,
                node_operator=lambda node=node: node,
                node_name=lambda: "conv1",
                desc=lambda text=text: text,
            )
        )
    with pytest.raises(PlanBuildError, match=r"(?s)model.onnx:\n  Conv 'conv1': weights are missing"
                       r"\n  and one more$"):  # fmt: skip
        build(tmp_path)


def test_other_inputs(builds, tmp_path):
    builds.inputs = ["input.1"]
    with pytest.raises(PlanBuildError, match=r"has the inputs input\.1; expected image1, image2\."):
        build(tmp_path)


def test_failed_build_keeps_the_old_plan(builds, bindings, tmp_path, monkeypatch):
    (tmp_path / "model.plan").write_bytes(b"old")
    builds.plan = None
    with pytest.raises(PlanBuildError, match=r"cannot build a plan from .*TensorRT gave no reason"):
        build(tmp_path)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_a_real_builder_that_does_not_start(bindings, cu, tmp_path):
    # With stub libraries, the real factory returns a null pointer, as it does without a driver.
    with pytest.raises(BackendError, match=r"tensorrt 11\..* does not start: "):
        build(tmp_path)


def test_no_gpu(bindings, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycuda", None)
    with pytest.raises(BackendError, match="need PyCUDA"):
        build(tmp_path)
    assert tensorrt_package.load_tensorrt().name == "tensorrt"


def test_the_plugin_library_is_loaded_once(builds, loaded, tmp_path):
    for _ in range(2):
        build(tmp_path, correlation="library")
    assert loaded == [plugin_library().name]


def test_a_plugin_library_that_tensorrt_refuses(builds, bindings, loaded, tmp_path, monkeypatch):
    registry = double(bindings.IPluginRegistry, load_library=lambda plugin_path: None)
    monkeypatch.setattr(bindings, "get_plugin_registry", lambda: registry)
    with pytest.raises(BackendError, match=r"cannot load .*correlation_tensorrt\.so: TensorRT"):
        build(tmp_path, correlation="library")


def test_a_plugin_library_that_was_not_built(builds, tmp_path, monkeypatch):
    monkeypatch.setenv("FLOW_KERNELS", str(tmp_path))
    message = r"correlation as library: no libflow_correlation_tensorrt\.so in .*; build it: cmake"
    with pytest.raises(PlanBuildError, match=message):
        build(tmp_path, correlation="library")


def test_an_ahead_of_time_plugin_needs_one_size(builds, tmp_path):
    with pytest.raises(PlanBuildError, match="correlation as plugin: its plan is for one size and"):
        build(tmp_path, correlation="plugin")


def test_the_best_form_for_dynamic_sizes_is_the_library(loaded, bindings):
    package = tensorrt_package.load_tensorrt()
    assert correlation.best_form(package, PROFILE)[0] == "library"
    plugin_library().unlink()
    form, reasons = correlation.best_form(package, PROFILE)
    assert form == "onnx"
    assert [reason.split(":")[0] for reason in reasons] == ["plugin", "library"]
