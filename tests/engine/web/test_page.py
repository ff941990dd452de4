"""The page in a browser: its flow and colours are Python's, and bad input gets plain words."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from engine.flow.colour import flow_to_color
from engine.flow.formats import read_flow
from engine.flow.picture import own_scale
from engine.images import read_image, write_image
from engine.web.runtime import INSTALLED, runtime_files
from engine.web.server import Server
from engine.web.site import DESCRIPTION, SiteFiles, site_files
from tests.support.browser import BROWSER, Page, open_page
from tests.support.http_servers import in_thread
from tests.support.videos import panning, write_clip, write_sound

pytestmark = [
    pytest.mark.skipif(not BROWSER, reason="needs Chromium or Chrome on PATH"),
    pytest.mark.skipif(not INSTALLED.is_dir(), reason="needs npm ci --prefix engine/web"),
]
NO_GPU = "No available adapters."  # Chromium's own warning


@contextmanager
def serving(site: SiteFiles) -> Iterator[str]:
    """Yield the address of a site."""
    with Server("127.0.0.1", 0, site) as server, in_thread(server):
        yield server.url


@pytest.fixture(scope="module")
def site(tiny_bundle: Path) -> SiteFiles:
    return site_files(tiny_bundle, runtime_files())[1]


@pytest.fixture(scope="module")
def page(site: SiteFiles, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page, with the tiny network open."""
    with serving(site) as url, open_page(tmp_path_factory.mktemp("profile")) as opened:
        opened.open(url)
        opened.wait_for(f"{text('engine')}.includes(' on ')")
        yield opened


@pytest.fixture
def files(tmp_path: Path, rng: np.random.Generator, page: Page) -> Path:
    """A folder with noise of two sizes, where the page saves what it saves."""
    for name, size in {"a.png": (70, 100), "b.png": (70, 100), "c.png": (71, 100)}.items():
        write_image(tmp_path / name, rng.integers(0, 256, (*size, 3), np.uint8))
    page.send("Page.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    return tmp_path


def text(element: str) -> str:
    return f"document.getElementById('{element}').textContent"


def click(page: Page, element: str) -> None:
    page.evaluate(f"document.getElementById('{element}').click()")


def message(page: Page) -> str:
    """Return what the page says is wrong, as soon as it does."""
    found: str = page.wait_for(f"!document.getElementById('message').hidden && {text('message')}")
    page.evaluate("document.getElementById('message').hidden = true")
    return found


def summary(page: Page, pattern: str) -> str:
    """Return the line about the flow, as soon as it matches."""
    found: str = page.wait_for(f"/{pattern}/.test({text('summary')}) && {text('summary')}")
    return found


def saved(page: Page, button: str, path: Path) -> Path:
    click(page, button)
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"{path.name} is not saved"
        page.evaluate("new Promise(done => setTimeout(done, 20))")
    return path


def test_it_says_what_runs_where(page):
    assert page.evaluate("crossOriginIsolated")
    (threads,) = re.findall(
        r"^tiny fp32 on WebAssembly, (\d+) threads?; WebGPU finds no GPU$",
        page.evaluate(text("engine")),
    )
    assert int(threads) == page.evaluate(
        "Math.min(navigator.hardwareConcurrency, 8, "
        "Math.max(2, Math.ceil(navigator.hardwareConcurrency / 2)))"
    )


def test_flow_of_two_pictures(page, files, tiny_flow):
    page.choose_files("#file1", files / "a.png", files / "b.png")
    line = summary(page, "ms")
    flow, _ = read_flow(saved(page, "save-flow", files / "a-flow.flo"))
    expected = tiny_flow(read_image(files / "a.png"), read_image(files / "b.png"))
    np.testing.assert_allclose(flow, expected, atol=1e-4)
    lengths = np.hypot(*np.moveaxis(expected, -1, 0))
    assert line.startswith(
        f"100x70: mean {lengths.mean():.2f} px, largest {lengths.max():.2f} px; "
    )
    assert page.evaluate(text("legend-text")) == f"rim: {own_scale(flow):g} px"
    page.evaluate("document.querySelector('[value=arrows]').click()")
    picture = read_image(saved(page, "save-picture", files / "a-flow.png"))
    assert picture.shape == (70 + 136, 240, 3)


def test_colours_are_those_of_python(page, rng):
    turns = np.linspace(0, 2 * np.pi, 5000)
    flow = np.stack([np.cos(turns), np.sin(turns)], -1) * rng.uniform(0, 14, 5000)[:, None]
    special = [[0, 0], [-0.0, -0.0], [-3, -0.0], [-3, 0], [2e9, 0], [np.nan, 1], [10, 0], [0, -10]]
    flow = np.concatenate([flow, special]).astype(np.float32)
    values = json.dumps([None if np.isnan(value) else float(value) for value in flow.ravel()])
    found = page.evaluate(
        "import('./colour.js').then(({flowColours}) => [...flowColours(Float32Array.from("
        f"{values}, (value) => value ?? NaN), 10)])"
    )
    colours = np.array(found).reshape(-1, 4)
    expected = flow_to_color(flow[None], max_magnitude=10)[0].astype(int)
    assert abs(colours[:, :3] - expected).max() <= 1
    assert (colours[:, 3] == 255).all()


def test_larger_pictures_are_downscaled_and_it_says_so(page, files, rng):
    write_image(files / "large.png", rng.integers(0, 256, (60, 1000, 3), np.uint8))
    page.choose_files("#file1", files / "large.png")
    page.choose_files("#file2", files / "large.png")
    assert summary(page, "1000").startswith("512x31, of 1000x60: mean ")


def test_pictures_that_are_none(page, files):
    (files / "text.png").write_text("no picture")
    page.choose_files("#file1", files / "text.png")
    assert message(page) == (
        "text.png cannot be read as a picture by this browser. Convert it, for example to .png; it "
        "may also be damaged or too large."
    )
    page.choose_files("#file1", files / "a.png")
    page.choose_files("#file2", files / "c.png")
    assert message(page) == (
        "a.png has 100x70 pixels and c.png 100x71; expected the same size. Crop or resize one of "
        "them."
    )


def test_flow_of_a_video(page, files):
    click(page, "tab-video")
    clip = write_clip(files / "clip.webm", panning(10, 64, 96), codec="libvpx")
    page.choose_files("#file-video", clip)
    (apart,) = re.findall(r"^96x64, frames (\d+) ms apart, ", summary(page, "flows"))
    assert int(apart) % 40 == 0  # 25 frames/s, of which a busy browser leaves some out
    click(page, "tab-pictures")
    assert page.evaluate(text("summary")) == ""
    click(page, "tab-video")
    page.evaluate("document.getElementById('clip').play()")  # as its own button does
    summary(page, "flows")


def test_videos_that_are_none(page, files):
    click(page, "tab-video")
    page.choose_files("#file-video", write_sound(files / "sound.mkv"))
    assert message(page) == "sound.mkv has no frames: it is sound only. Choose a video."
    (files / "empty.mp4").write_bytes(b"")
    page.choose_files("#file-video", files / "empty.mp4")
    assert message(page) == "empty.mp4 is empty. Choose a video."
    page.choose_files("#file-video", files / "a.png")
    assert message(page) == (
        "a.png cannot be played by this browser. It is a picture: choose it under Two pictures."
    )


def test_camera(page):
    click(page, "tab-camera")
    allowed = {"permission": {"name": "camera"}, "origin": page.evaluate("location.origin")}
    page.send("Browser.setPermission", setting="denied", **allowed)
    click(page, "camera-start")
    assert message(page) == (
        "The browser was not allowed to use the camera. Allow it for this page, and start again."
    )
    page.send("Browser.setPermission", setting="granted", **allowed)
    click(page, "camera-start")
    assert re.match(r"512x384, frames \d+ ms apart: mean ", summary(page, "apart:"))
    click(page, "camera-stop")


def test_nothing_is_wider_than_a_telephone(page, files):
    click(page, "tab-pictures")
    page.choose_files("#file1", files / "a.png", files / "b.png")
    summary(page, "100x70")
    size = {"width": 360, "height": 740, "deviceScaleFactor": 2}
    page.send("Emulation.setDeviceMetricsOverride", mobile=True, **size)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.send("Emulation.clearDeviceMetricsOverride")


def test_int8_is_refused(page, site):
    """`flow web` serves none; a folder can be changed by hand."""
    description = json.loads(site[DESCRIPTION])
    description["manifest"]["files"]["model.onnx"]["precision"] = "int8"
    with serving({**site, DESCRIPTION: json.dumps(description).encode()}) as url:
        page.open(url)
        assert message(page) == (
            "This bundle has the network in int8, which this page does not compute. Build one with "
            "--precision fp32 or fp16."
        )
        assert page.evaluate(text("engine")) == "No network is open."


def test_a_device_that_computes_wrongly_is_refused(page, site):
    images, flow = np.split(np.frombuffer(site["check.bin"], np.uint8), [2 * 64 * 64 * 3])
    other = flow.view(np.float32) + np.float32(0.5)
    with serving({**site, "check.bin": images.tobytes() + other.tobytes()}) as url:
        page.open(url)
        assert message(page) == (
            "WebAssembly does not work here: its flow of a test pair is 0.71 px off. Use another "
            "browser."
        )


def test_the_console_is_empty(page):
    """Last: of all the above."""
    assert [line for line in page.log if not line.startswith(NO_GPU)] == []
