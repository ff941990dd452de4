"""Errors for a runtime that is missing or broken."""

import sys

import pytest

from engine.backends.registry import open_backend
from engine.backends.runtime_import import import_runtime
from engine.bundle.manifest import read_manifest
from engine.errors import BackendError, BackendNotInstalledError


@pytest.mark.parametrize(
    ("name", "module", "command"),
    [
        ("openvino", "openvino", "pip install openvino"),
        ("onnxruntime", "onnxruntime", "pip install onnxruntime"),
        ("onnxruntime-cuda", "onnxruntime", r'pip install "onnxruntime-gpu\[cuda,cudnn\]"'),
    ],
)
def test_not_installed(monkeypatch, tiny_bundle, name, module, command):
    monkeypatch.setitem(sys.modules, module, None)
    message = f"backend {name} needs the package {module}, which is not installed.*{command}"
    with pytest.raises(BackendNotInstalledError, match=message):
        open_backend(name, tiny_bundle, read_manifest(tiny_bundle), device=0, threads=1)


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
