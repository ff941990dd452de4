import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import engine
from engine.errors import BundleError, InputError


def test_load_checks_the_files(tiny_bundle, tmp_path):
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    (bundle / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(BundleError, match=r"model\.onnx has 11 bytes; .* truncated\. Rebuild"):
        engine.load(bundle)
    with pytest.raises(BundleError, match="is not a bundle: it is not a folder"):
        engine.load(bundle / "model.onnx")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"device": -1}, "device is -1; expected the index of a GPU"),
        ({"bundle": 3}, "bundle is 3; expected the path of a folder"),
        ({"backend": None}, "unknown backend None; expected one of auto, tensorrt,"),
        ({"backend": ["x"]}, r"unknown backend \['x'\]; expected one of auto,"),
        ({"device": "cuda"}, "device is 'cuda'; expected the index"),
        ({"threads": 0}, "threads is 0; expected a number from 1 up"),
        ({"threads": True}, "threads is True; expected a number"),
        ({"streams": 0}, "streams is 0; expected a number from 1 up"),
        ({"streams": -2}, "streams is -2; expected a number from 1 up"),
        ({"streams": True}, "streams is True; expected a number from 1 up"),
        ({"streams": 2.0}, r"streams is 2\.0; expected a number from 1 up"),
        ({"streams": None}, "streams is None; expected a number from 1 up"),
        (
            {"threads": 2, "streams": 3},
            r"streams is 3, but there are 2 CPU threads to share .* expected at most 2\. Ask for",
        ),
        ({"backend": "opnvino"}, r"unknown backend 'opnvino'; .* Did you mean 'openvino'\?"),
    ],
)
def test_load_checks_its_arguments(tiny_bundle, arguments, message):
    with pytest.raises(InputError, match=message):
        engine.load(**{"bundle": tiny_bundle, **arguments})


def test_load_without_a_default_bundle(monkeypatch, tmp_path):
    monkeypatch.setattr("engine.loader.DEFAULT_BUNDLE", tmp_path)
    with pytest.raises(
        BundleError, match=r"no default bundle is inside .* -m export\.build_engine"
    ):
        engine.load()


def test_default_engine_is_opened_once(monkeypatch, tiny_bundle, tiny_flow, rng):
    opened = []

    load = engine.load

    def counting_load():
        opened.append(load(tiny_bundle, backend="onnxruntime", threads=1))
        return opened[-1]

    monkeypatch.setattr(engine, "_default", None)
    monkeypatch.setattr(engine, "load", counting_load)
    image1, image2 = rng.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    with ThreadPoolExecutor(6) as pool:
        flows = list(pool.map(lambda _: engine.infer(image1, image2), range(12)))
    assert len(opened) == 1
    for flow in flows:
        np.testing.assert_allclose(flow, tiny_flow(image1, image2), atol=1e-5)
    opened[0].close()


def test_default_bundle_runs(rng):
    image1, image2 = rng.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    flow = engine.infer(image1, image2)
    assert flow.shape == (64, 64, 2)
    assert np.isfinite(flow).all()


def test_version_is_written_once():
    """The distribution's version is read from here without an import, so it must be a literal."""
    tomllib = pytest.importorskip("tomllib", reason="tomllib comes with Python 3.11")
    package = Path(engine.__file__)
    project = tomllib.loads((package.parents[1] / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "engine.__version__"}
    assert f'\n__version__ = "{engine.__version__}"\n' in package.read_text()
