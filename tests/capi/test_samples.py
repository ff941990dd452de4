"""The samples, built against the installed library as any other program is."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.flow.formats import read_flow
from tests.support.c_library import ROOT, run

Truth = Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.float64]]


@pytest.fixture(scope="module")
def samples(build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build folder of the samples."""
    cmake = shutil.which("cmake")
    if cmake is None:
        pytest.skip("no cmake")
    base = tmp_path_factory.mktemp("samples")
    run(cmake, "--install", build, "--prefix", base / "installed")
    run(
        *(cmake, "-S", ROOT / "capi/samples", "-B", base / "build", "-DCMAKE_BUILD_TYPE=Debug"),
        *(f"-DCMAKE_PREFIX_PATH={base / 'installed'}", "-DCMAKE_CXX_FLAGS=-Wall -Wextra"),
    )
    return base / "build"


def build_target(samples: Path, name: str) -> None:
    output = run("cmake", "--build", samples, "--target", name)
    assert "warning:" not in output, output


def test_flow_of_pair(samples: Path, tiny_bundle: Path, tiny_flow: Truth, rng, tmp_path) -> None:
    images = rng.integers(0, 256, (2, 30, 41, 3), np.uint8)
    for name, image in zip(("first.ppm", "second.ppm"), images, strict=True):
        (tmp_path / name).write_bytes(b"P6\n41 30\n255\n" + image.tobytes())
    build_target(samples, "flow_of_pair")
    run(
        *(samples / "flow_of_pair", tiny_bundle, tmp_path / "first.ppm", tmp_path / "second.ppm"),
        tmp_path / "flow.flo",
    )
    np.testing.assert_array_equal(read_flow(tmp_path / "flow.flo")[0], tiny_flow(*images))


def test_gstreamer_element(
    samples: Path, tiny_bundle: Path, tiny_flow: Truth, rng, tmp_path, monkeypatch
) -> None:
    if shutil.which("gst-launch-1.0") is None:
        pytest.skip("no gst-launch-1.0")
    if "gstflowengine" not in run("cmake", "--build", samples, "--target", "help"):
        pytest.skip("no headers of GStreamer's video library")
    build_target(samples, "gstflowengine")
    # GStreamer pads rows to multiples of 4 bytes, here from 150 to 152.
    rows = rng.integers(0, 256, (4, 33, 152), np.uint8)
    (tmp_path / "frames.raw").write_bytes(rows.tobytes())
    monkeypatch.setenv("GST_PLUGIN_PATH", str(samples))
    monkeypatch.setenv("GST_REGISTRY", str(tmp_path / "registry.bin"))
    run(
        *("gst-launch-1.0", "-q", "filesrc", f"location={tmp_path / 'frames.raw'}"),
        *(f"blocksize={33 * 152}", "!", "video/x-raw,format=RGB,width=50,height=33,framerate=1/1"),
        *("!", "flowengine", f"bundle={tiny_bundle}"),
        *("!", "filesink", f"location={tmp_path / 'drawn.raw'}"),
    )
    drawn = np.fromfile(tmp_path / "drawn.raw", np.uint8).reshape(rows.shape)
    frames, pictures = (bytes_[..., :150].reshape(4, 33, 50, 3) for bytes_ in (rows, drawn))
    assert (pictures[0] == 128).all()  # there is no frame before it
    shades = 127.5 + 127.5 * tiny_flow(frames[:-1], frames[1:]) / 20
    expected = np.floor(shades.clip(0, 255) + 0.5)
    assert ((expected > 0) & (expected < 255)).mean() > 0.5
    np.testing.assert_allclose(pictures[1:, ..., :2], expected, atol=1)
    assert (pictures[1:, ..., 2] == 128).all()
