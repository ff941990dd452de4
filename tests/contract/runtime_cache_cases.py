"""Kernels that TensorRT for RTX compiled are stored; run by test_tensorrt.py."""

import logging

import pytest

from engine.system.cache import VARIABLE, read_cached
from tests.contract.tensorrt_double import PLAN, check_run, manifest_with, open_backend


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


def open_run_close(bundle, contexts, *, device=0):
    contexts.compiled = b""
    opened = open_backend(bundle, device=device, manifest=manifest_with(PLAN, bundle=bundle))
    loaded = contexts.compiled
    check_run(opened, (1, 64, 64))
    opened.close()
    return loaded


def stored(folder):
    return [read_cached(path.name) for path in sorted(folder.iterdir())]


def test_the_next_process_loads_them(bundle, contexts, folder):
    assert open_run_close(bundle, contexts) == b""
    assert stored(folder) == [b"kernels"]
    (file,) = folder.iterdir()
    written = file.stat().st_ino
    assert open_run_close(bundle, contexts) == b"kernels"
    # Unchanged kernels are not written again.
    assert file.stat().st_ino == written
    assert stored(folder) == [b"kernels"]


def test_all_slots_share_the_cache(bundle, contexts, folder):
    opened = open_backend(bundle)
    with opened._slots.borrow(), opened._slots.borrow():
        pass
    opened.close()
    assert len(contexts.configs) == 2
    assert contexts.configs[0] is not contexts.configs[1]
    assert len(contexts.attached) == 2
    assert contexts.attached[0] is contexts.attached[1]


def test_they_are_stored_per_plan_gpu_and_version(
    bundle, contexts, cu, bindings, folder, monkeypatch
):
    open_run_close(bundle, contexts)
    for gpu in (("NVIDIA L40", (8, 9)), ("NVIDIA L4", (9, 0))):
        cu.gpus = (cu.gpus[0], gpu)
        assert open_run_close(bundle, contexts, device=1) == b""
    monkeypatch.setattr(bindings, "__version__", "99.0")
    assert open_run_close(bundle, contexts) == b""
    (bundle / PLAN).write_bytes(b"another plan")
    assert open_run_close(bundle, contexts) == b""
    assert stored(folder) == [b"kernels"] * 5


def test_kernels_that_do_not_fit_are_replaced(bundle, contexts, folder, caplog):
    contexts.kernels = b"kernels of an older driver"
    open_run_close(bundle, contexts)
    contexts.kernels, contexts.refused = b"kernels", {"deserialize"}
    assert open_run_close(bundle, contexts) == b""
    assert stored(folder) == [b"kernels"]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "the cached kernels do not fit and are compiled again: the runtime cache is of another GPU"
    )


@pytest.mark.parametrize("member", ["create_runtime_cache", "set_runtime_cache", "serialize"])
def test_flow_is_computed_without_a_cache(bundle, contexts, folder, caplog, member):
    contexts.refused = {member}
    open_run_close(bundle, contexts)
    assert not folder.exists()
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert "compiled kernels are not cached" in caplog.text


def test_nothing_is_stored_before_the_first_run(bundle, contexts, folder):
    open_backend(bundle).close()
    assert not folder.exists()


def test_a_damaged_file_is_replaced(bundle, contexts, folder):
    open_run_close(bundle, contexts)
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    assert open_run_close(bundle, contexts) == b""
    assert stored(folder) == [b"kernels"]
