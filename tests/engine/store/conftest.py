from fractions import Fraction

import numpy as np
import pytest

from engine.store.writer import write_store


@pytest.fixture
def smooth(rng):
    """Return a function that makes a smooth flow, as networks do."""

    def make(height=24, width=40, scale=20.0):
        corners = rng.normal(0, scale, (2, 2, 2))
        y, x = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[:, None]
        top = corners[0, 0] * (1 - x) + corners[0, 1] * x
        bottom = corners[1, 0] * (1 - x) + corners[1, 1] * x
        return (top * (1 - y) + bottom * y).astype(np.float32)

    return make


@pytest.fixture
def write(tmp_path):
    """Return a function that writes flows to a store and returns its path."""

    def write(flows, name="store.zarr", *, stop=None, **options):
        options = {"source": "clip.mp4", "time_base": Fraction(1, 25), **options}
        path = tmp_path / name
        with write_store(path, flows[0].shape[:2], **options) as store:
            for flow in flows:
                if len(store) == stop:
                    raise KeyboardInterrupt
                index = len(store)
                times = Fraction(index, 25), Fraction(index + 1, 25)
                store.append(flow, name=f"{index:06d}", times=times)
        return path

    return write
