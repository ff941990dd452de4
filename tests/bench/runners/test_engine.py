"""The runners of the engine, on the tiny bundle."""

import itertools

import numpy as np
import onnxruntime
import pytest

import engine
from bench.harness.plan import backend_names
from bench.harness.worker import Job, Overlapping, open_runner
from bench.runners.registry import BY_NAME
from engine.backends.onnxruntime.cuda_backend import OnnxRuntimeCudaBackend
from tests.support.onnxruntime_double import Gpu, session_class

NAMES = [name for name, each in BY_NAME.items() if each.kind in ("engine", "stream", "many")]
HERE = [name for name in NAMES if not BY_NAME[name].gpu]


def opened(name, bundle, threads):
    pytest.importorskip(BY_NAME[name].needs.modules[0], reason="an optional extra")
    return open_runner(
        Job(
            factory=BY_NAME[name].factory,
            network="tiny",
            backend=name,
            precision="fp32",
            batch=2,
            threads=threads,
            pairs="",
            bundle=str(bundle),
        )
    )


@pytest.fixture
def batches(rng):
    """Four batches of two pairs, as a worker passes them."""
    return list(rng.integers(0, 256, (4, 2, 2, 40, 70, 3), dtype=np.uint8))


@pytest.mark.parametrize("name", HERE)
def test_all_runners_give_the_same_flow(name, request, batches, tiny_flow):
    split = BY_NAME[name].files == ("features.onnx",)
    bundle = request.getfixturevalue("tiny_split_bundle" if split else "tiny_bundle")
    runner = opened(name, bundle, threads=1)
    assert runner.device == "cpu"
    assert runner.runtime_version[0].isdigit()
    for image1, image2 in batches:
        np.testing.assert_allclose(runner.run(image1, image2), tiny_flow(image1, image2), atol=1e-5)
    assert runner.device_ms() is None
    runner.close()


@pytest.mark.parametrize(
    "name", ["onnxruntime (motion compensated)", "openvino (motion compensated)"]
)
def test_motion_compensated_rows(name, tiny_bundle, batches):
    runner = opened(name, tiny_bundle, threads=1)
    backend = name.partition(" ")[0]
    with engine.load(tiny_bundle, backend=backend, threads=1, compensate_motion=True) as loaded:
        for image1, image2 in batches:
            expected = loaded.infer(image1, image2)
            np.testing.assert_allclose(runner.run(image1, image2), expected, atol=1e-5)
    runner.close()


def test_names_beside_all_are_added_to_it():
    everything = backend_names("all", full=False)
    assert "openvino (unrefined)" not in everything
    assert backend_names("all, openvino (unrefined),openvino", full=False) == [
        *everything,
        "openvino (unrefined)",
    ]


@pytest.mark.parametrize(
    ("name", "suffix", "shape"),
    [
        ("onnxruntime (tiled 512)", "tiles of 512x512", (1, 70, 600, 3)),
        ("openvino (max side 960)", "max side 960", (1, 70, 1100, 3)),
    ],
)
def test_rows_for_large_frames(name, suffix, shape, tiny_bundle, rng):
    assert name not in backend_names("all", full=True)
    runner = opened(name, tiny_bundle, threads=1)
    pair = rng.integers(0, 256, (2, *shape), dtype=np.uint8)
    backend = name.partition(" ")[0]
    options = dict(BY_NAME[name].options)
    with engine.load(tiny_bundle, backend=backend, threads=1, **options) as loaded:
        assert loaded.backend.name == f"{backend} ({suffix})"
        np.testing.assert_allclose(runner.run(*pair), loaded.infer(*pair), atol=1e-4)
    runner.close()


@pytest.mark.parametrize("name", ["onnxruntime (many)", "openvino (many)"])
def test_many_pairs_at_the_same_time(name, tiny_bundle, batches, tiny_flow, new_threads):
    assert BY_NAME[name].slow
    runner = opened(name, tiny_bundle, threads=2)
    assert isinstance(runner, Overlapping)
    assert runner.window % 2 == 0  # a multiple of its two streams
    flows = runner.run_many(itertools.cycle(batches))
    for (image1, image2), flow in zip(batches * 2, flows, strict=False):
        np.testing.assert_allclose(flow, tiny_flow(image1, image2), atol=1e-5)
    flows.close()
    assert new_threads() == []
    runner.close()


def test_channels_last_convolutions_on_cuda(monkeypatch, tiny_bundle, batches, tiny_flow):
    gpu = Gpu()
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", session_class(gpu))
    monkeypatch.setattr(OnnxRuntimeCudaBackend, "memory", "cpu")
    for name in ("onnxruntime-cuda (nhwc)", "onnxruntime-cuda"):
        runner = opened(name, tiny_bundle, threads=1)
        assert runner.device == "cuda:0"
        np.testing.assert_allclose(runner.run(*batches[0]), tiny_flow(*batches[0]), atol=1e-5)
        assert runner.device_ms() > 0
        runner.close()
    channels_last, as_shipped = gpu.sessions
    assert channels_last.options == {**as_shipped.options, "prefer_nhwc": True}


def test_only_many_pairs_overlap(tiny_bundle):
    runner = opened("onnxruntime", tiny_bundle, threads=1)
    assert not isinstance(runner, Overlapping)
    runner.close()
