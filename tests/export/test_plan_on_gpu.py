"""A plan built and run for real, on whatever GPU is there."""

from dataclasses import replace

import numpy as np
import pytest

import engine
from engine.backends.cuda import Device
from engine.backends.tensorrt_package import load_tensorrt
from engine.errors import BackendNotInstalledError, HardwareMissingError
from engine.manifest import BundleFile, read_manifest, sha256_of, write_manifest
from export.engine_from_onnx import build_plan


@pytest.fixture
def gpu():
    try:
        load_tensorrt()
        return Device(0)
    except (BackendNotInstalledError, HardwareMissingError) as error:
        pytest.skip(str(error))


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
def test_a_plan_computes_the_flow(tiny_bundle, tiny_flow, rng, tmp_path):
    manifest = read_manifest(tiny_bundle)
    model, plan = tiny_bundle / "model.onnx", tmp_path / "model.plan"
    built = build_plan(model, plan, manifest.profile, precision="fp32")
    file = BundleFile(
        built.bytes, sha256_of(tmp_path / built.file), built.tool, built.compute_capability
    )
    write_manifest(tmp_path, replace(manifest, files={built.file: file}))
    try:
        flow_engine = engine.load(tmp_path, backend="tensorrt")
    except HardwareMissingError as error:
        pytest.skip(str(error))
    with flow_engine:
        assert (flow_engine.backend.name, flow_engine.backend.device) == ("tensorrt", "cuda:0")
        assert flow_engine.backend.profile == manifest.profile
        # Each size as often as it takes until its CUDA graph has been recorded and launched.
        for shape in 3 * [(128, 192, 3)] + 3 * [(2, 70, 130, 3)] + [(128, 192, 3)]:
            image1, image2 = rng.integers(0, 256, (2, *shape), dtype=np.uint8)
            flow = flow_engine.infer(image1, image2)
            np.testing.assert_allclose(flow, tiny_flow(image1, image2), atol=1e-4)
        assert flow_engine.backend.device_ms() > 0
