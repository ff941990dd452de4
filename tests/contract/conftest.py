"""Fixtures of the contract cases: real bindings, a fake PyCUDA, and a backend on both."""

from pathlib import Path
from types import ModuleType

import pytest

from engine import FlowEngine
from engine.cuda import libcuda as real_libcuda
from tests.contract.fake_libcuda import FakeLibcuda
from tests.contract.fake_pycuda import FakeDriver
from tests.contract.real_bindings import double, import_bindings
from tests.contract.tensorrt_double import (
    CAPTURES_GRAPHS,
    PACKAGE,
    PLAN,
    PROFILE,
    Contexts,
    install_driver,
    install_runtime,
    manifest_with,
    open_backend,
)


@pytest.fixture(scope="session")
def bindings(tmp_path_factory) -> ModuleType:
    return import_bindings(PACKAGE, tmp_path_factory.mktemp("stubs"))


@pytest.fixture
def cu(monkeypatch) -> FakeDriver:
    return install_driver(monkeypatch, FakeDriver(("NVIDIA L4", (8, 9)), ("NVIDIA A2", (8, 6))))


@pytest.fixture
def libcuda(cu, monkeypatch) -> FakeLibcuda:
    fake = FakeLibcuda(cu)
    monkeypatch.setattr(real_libcuda, "_libcuda", lambda: fake)
    return fake


@pytest.fixture
def contexts(bindings, cu, libcuda, monkeypatch) -> Contexts:
    made = Contexts(bindings, cu)
    config = {"create_runtime_config": made.create_config}
    engine = double(
        bindings.ICudaEngine,
        num_io_tensors=3,
        get_tensor_name=lambda index: ("flow", "image1", "image2")[index],
        get_tensor_dtype=lambda name: made.types[name],
        get_tensor_profile_shape=lambda name, profile_index: [
            bindings.Dims((*size, 3)) for size in (PROFILE.min, PROFILE.opt, PROFILE.max)
        ],
        create_execution_context=made.create,
        **({} if CAPTURES_GRAPHS else config),
    )
    install_runtime(monkeypatch, bindings, lambda serialized_engine: engine)
    return made


@pytest.fixture
def bundle(tmp_path) -> Path:
    (tmp_path / PLAN).write_bytes(b"plan")
    return tmp_path


@pytest.fixture
def backend(bundle, contexts, cu):
    opened = open_backend(bundle)
    yield opened
    opened.close()
    assert (cu.leaked, cu.blocks, cu.stack) == ([], {}, [])


@pytest.fixture
def flow_engine(backend) -> FlowEngine:
    return FlowEngine(manifest_with(PLAN), backend)
