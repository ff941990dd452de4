"""Fixtures of the CUDA tests: a fake driver with two GPUs."""

import pytest

from engine.cuda import libcuda
from tests.contract.fake_libcuda import FakeLibcuda
from tests.contract.fake_pycuda import FakeDriver
from tests.contract.tensorrt_double import install_driver


@pytest.fixture
def cu(monkeypatch):
    driver = install_driver(monkeypatch, FakeDriver(("NVIDIA L4", (8, 9)), ("NVIDIA A2", (8, 6))))
    fake = FakeLibcuda(driver)
    monkeypatch.setattr(libcuda, "_libcuda", lambda: fake)
    return driver
