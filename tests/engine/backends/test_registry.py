"""How a backend is chosen by name and by ``auto``."""

import logging
import sys
from types import SimpleNamespace

import pytest

from engine.backends import registry
from engine.bundle.manifest import read_manifest
from engine.errors import BackendError, BackendNotInstalledError, InputError, PlanMismatchError


def opened(name, bundle, *, device=0, threads=1, streams=1):
    manifest = read_manifest(bundle)
    return registry.open_backend(
        name, bundle, manifest, device=device, threads=threads, streams=streams
    )


class Good:
    device, arithmetic = "cpu", "float32"

    def __init__(self, bundle, manifest, *, device, threads, streams, iterations):
        self.arguments = device, threads, streams


class Missing:
    def __init__(self, bundle, manifest, *, device, threads, streams, iterations):
        raise BackendNotInstalledError("pip install it")


class Mismatched:
    def __init__(self, bundle, manifest, *, device, threads, streams, iterations):
        raise PlanMismatchError("another GPU")


class Defective:
    def __init__(self, bundle, manifest, *, device, threads, streams, iterations):
        raise ZeroDivisionError


def use_backends(monkeypatch, **classes):
    monkeypatch.setitem(sys.modules, "fake_runtimes", SimpleNamespace(**classes))
    monkeypatch.setattr(registry, "BACKENDS", {name: f"fake_runtimes:{name}" for name in classes})
    monkeypatch.setattr(registry, "AUTO_ORDER", tuple(classes))


def test_auto_order():
    assert registry.AUTO_ORDER == ("tensorrt", "onnxruntime-cuda", "openvino", "onnxruntime")
    assert set(registry.BACKENDS) == set(registry.AUTO_ORDER)


def test_unknown_backend(tiny_bundle):
    message = r"unknown backend 'tensort'; expected one of auto, .*\. Did you mean 'tensorrt'\?"
    with pytest.raises(InputError, match=message):
        opened("tensort", tiny_bundle)


def test_auto_takes_the_first_that_opens_and_logs_why(monkeypatch, caplog, tiny_bundle):
    use_backends(monkeypatch, missing=Missing, other=Mismatched, good=Good, better=Defective)
    with caplog.at_level(logging.INFO, logger="engine"):
        backend = opened("auto", tiny_bundle, device=2, threads=3, streams=2)
    assert isinstance(backend, Good)
    assert backend.arguments == (2, 3, 2)
    assert caplog.messages == [
        "backend missing does not open: pip install it",
        "backend other does not open: another GPU",
        "backend good opens on cpu, in float32",
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
