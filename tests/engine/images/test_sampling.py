"""OpenCV's bilinear samples against NumPy's, which ``tests/engine/flow/test_warp.py`` checks."""

import numpy as np
import pytest

from engine.images.sampling import opencv_sampler, sample_with_numpy


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [(), (1,), (2,), (3,), (4,)])
def test_opencv_and_numpy_agree(rng, kind, channels):
    if (sample := opencv_sampler()) is None:
        pytest.skip("OpenCV is missing or rounds coordinates")
    image = rng.integers(0, 256, (40, 50, *channels)).astype(kind)
    x = rng.uniform(0, 49, (45, 60)).astype(np.float32)
    y = rng.uniform(0, 39, (45, 60)).astype(np.float32)
    x[0, :4], y[0, :4] = (0, 49, 0, 49), (0, 0, 39, 39)
    first, second = (one(image, x, y).astype(np.float64) for one in (sample, sample_with_numpy))
    assert first.shape == (45, 60, *channels)
    # Values of 255 in float32; for uint8, halves may round either way.
    np.testing.assert_allclose(first, second, atol=1e-4 if kind == np.float32 else 1)
    assert (np.abs(first - second) > 0.5).mean() < 0.001
