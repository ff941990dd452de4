"""A plan built and run for real, on whatever GPU is there."""

import numpy as np
import pytest


@pytest.mark.gpu
def test_a_plan_computes_the_flow(plan_engine, tiny_flow, rng):
    assert (plan_engine.backend.name, plan_engine.backend.device) == ("tensorrt", "cuda:0")
    assert plan_engine.backend.profile == plan_engine.manifest.profile
    # Each size as often as it takes until its CUDA graph has been recorded and launched.
    for shape in 3 * [(128, 192, 3)] + 3 * [(2, 70, 130, 3)] + [(128, 192, 3)]:
        image1, image2 = rng.integers(0, 256, (2, *shape), dtype=np.uint8)
        flow = plan_engine.infer(image1, image2)
        np.testing.assert_allclose(flow, tiny_flow(image1, image2), atol=1e-4)
    assert plan_engine.backend.device_ms() > 0
