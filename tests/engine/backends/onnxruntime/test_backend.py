"""ONNX Runtime on the CPU."""

import numpy as np
import pytest

from engine.backends.onnxruntime import session as onnxruntime_session
from engine.backends.registry import open_backend
from engine.bundle.manifest import read_manifest


def opened(bundle, *, threads=1, streams=1):
    manifest = read_manifest(bundle)
    return open_backend("onnxruntime", bundle, manifest, device=0, threads=threads, streams=streams)


@pytest.mark.parametrize("kind", ["tiny_bundle", "tiny_split_bundle"])
def test_runs(kind, request, tiny_flow, rng):
    pair = rng.integers(0, 256, (2, 1, 64, 128, 3), dtype=np.uint8)
    backend = opened(request.getfixturevalue(kind))
    assert (backend.name, backend.device, backend.profile) == ("onnxruntime", "cpu", None)
    assert backend.runtime_version[0].isdigit()
    flow = backend.run(*map(backend.prepare, pair))
    assert flow.dtype == np.float32
    np.testing.assert_allclose(flow, tiny_flow(*pair), atol=1e-5)
    assert backend.device_ms() is None
    backend.close()


# The pool of n has n - 1 threads of its own, and each caller is one more.
@pytest.mark.parametrize(
    ("threads", "streams", "expected"), [(3, 1, 3), (None, 1, 5), (6, 2, 5), (4, 4, 1)]
)
def test_threads(monkeypatch, tiny_bundle, threads, streams, expected):
    monkeypatch.setattr(onnxruntime_session, "available_threads", lambda: 5)
    backend = opened(tiny_bundle, threads=threads, streams=streams)
    session = backend.graphs._model.session
    options = session.get_session_options()
    assert options.intra_op_num_threads == expected
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"
    backend.close()
