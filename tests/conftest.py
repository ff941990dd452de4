"""Fixtures of many tests: a tiny real bundle whose flow has a closed form, and random numbers."""

import gc
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

from engine.bundle.manifest import write_manifest
from engine.system.cache import VARIABLE
from tests.support.tiny_network import affine_flow, manifest_for, tiny_model, tiny_split_models

# Tests neither read nor write the user's cache; tests of the cache set a folder.
os.environ[VARIABLE] = ""
# No test outlives a power failure, and waiting for a disk thousands of times takes minutes.
os.fsync = lambda descriptor: None
# A shell starts background jobs with SIGINT ignored, which programs that tests start inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
# No test depends on the speed of the machine.
settings.register_profile("any speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any speed")

# What takes long, first: the last file of a run may keep one process busy while the others wait.
FIRST = ("test_docs.py", "export", "capi", "bench", "contract")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files; pytest-xdist hands them out so with ``--no-loadscope-reorder``."""

    def place(item: pytest.Item) -> int:
        name = item.path.relative_to(Path(__file__).parent).parts[0]
        return FIRST.index(name) if name in FIRST else len(FIRST)

    items.sort(key=place)


@pytest.fixture(scope="module", autouse=True)
def _frozen_modules() -> None:
    """Builds collect garbage many times: what is imported by now need not be searched for it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a real ONNX model that computes ``affine_flow``. Copy it before changing it."""
    bundle = tmp_path_factory.mktemp("tiny-fp32")
    onnx.save(tiny_model(), bundle / "model.onnx")
    write_manifest(bundle, manifest_for(bundle))
    return bundle


@pytest.fixture(scope="session")
def tiny_split_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network in two graphs, for backends that reuse the features of a frame."""
    bundle = tmp_path_factory.mktemp("tiny-split-fp32")
    for name, model in zip(("features.onnx", "match.onnx"), tiny_split_models(), strict=True):
        onnx.save(model, bundle / name)
    write_manifest(bundle, manifest_for(bundle))
    return bundle


@pytest.fixture(scope="session")
def tiny_flow() -> Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.float64]]:
    """The flow of ``tiny_bundle`` for two uint8 RGB images, from numpy."""
    return affine_flow


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(0)


@pytest.fixture
def new_threads() -> Callable[[], list[threading.Thread]]:
    """Return the threads that began in this test and still run, whatever other tests left."""
    before = set(threading.enumerate())
    return lambda: [thread for thread in threading.enumerate() if thread not in before]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A run of the GPU tests alone (``-m gpu``) fails if every one of them was skipped."""
    options = session.config.option
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if options.markexpr != "gpu" or options.collectonly or exitstatus or reporter is None:
        return
    if not reporter.stats.get("passed"):
        reporter.write_line("no GPU test ran; the reasons are below", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
