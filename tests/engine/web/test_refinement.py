"""The page refines as Python does, in Node.js: its module alone, and its worker with a network."""

import json
import shutil
import subprocess
from dataclasses import replace

import cv2
import numpy as np
import pytest

import engine
from engine.bundle.manifest import read_manifest, write_manifest
from engine.cli.main import main
from engine.refinement import plain
from engine.web.runtime import INSTALLED
from tests.support.pages import ROOT

NODE = shutil.which("node") or ""
pytestmark = pytest.mark.skipif(not NODE, reason="needs Node.js on PATH")
PAGE = ROOT / "engine/web/page"
WORKER = ROOT / "tests/engine/web/worker.mjs"

# Reads first.bin, second.bin and flow.bin; writes refined.bin.
ALONE = """
import { readFileSync, writeFileSync } from "node:fs";
import { refined } from "./refinement.js";

const [first, second, flow] = ["first", "second", "flow"].map(
  (name) => new Uint8Array(readFileSync(`${name}.bin`)),
);
const [size, manifest] = process.argv.slice(2).map(JSON.parse);
writeFileSync("refined.bin", refined(first, second, new Float32Array(flow.buffer), size, manifest));
"""


def smooth_images(rng, height, width):
    """Return a pair, smooth so that the equations are well conditioned."""
    images = rng.integers(0, 256, (2, height, width, 3), np.uint8)
    return [cv2.GaussianBlur(image, (0, 0), 1) for image in images]


def smooth_flow(rng, height, width, motion=3.0):
    flow = cv2.GaussianBlur(rng.normal(0, motion, (height, width, 2)), (0, 0), 2)
    return flow.reshape(height, width, 2).astype(np.float32)


def refined_by_the_page(folder, first, second, flow, manifest):
    for name, array in {"first": first, "second": second, "flow": flow}.items():
        (folder / f"{name}.bin").write_bytes(array.tobytes())
    for module in ("refinement", "patches"):
        shutil.copy(PAGE / f"{module}.js", folder)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "alone.js").write_text(ALONE)
    arguments = [json.dumps(value) for value in (flow.shape[:2], manifest)]
    subprocess.run([NODE, "alone.js", *arguments], cwd=folder, check=True)
    return np.fromfile(folder / "refined.bin", np.float32).reshape(flow.shape)


def assert_close(flow, expected):
    """Assert it but for few pixels: rounding is amplified where their match is ambiguous."""
    difference = np.abs(flow - expected)
    assert np.median(difference) < 1e-3
    assert (difference.max(-1) <= 0.02).mean() >= 0.99


@pytest.mark.parametrize("size", [(96, 128), (61, 83), (40, 3), (1, 1)])
def test_it_computes_what_numpy_does(size, tmp_path, rng):
    first, second = smooth_images(rng, *size)
    flow = smooth_flow(rng, *size)
    result = refined_by_the_page(tmp_path, first, second, flow, {"refine": "variational"})
    assert_close(result, plain.refined(first, second, flow))


def test_a_flow_that_leads_far_out_of_the_image_stays_finite(tmp_path, rng):
    first, second = smooth_images(rng, 40, 50)
    flow = smooth_flow(rng, 40, 50, motion=1e30)
    result = refined_by_the_page(tmp_path, first, second, flow, {"refine": "variational"})
    assert np.isfinite(result).all()


@pytest.mark.parametrize("manifest", [{}, {"refine": None}])
def test_a_manifest_without_it_leaves_the_flow_alone(manifest, tmp_path, rng):
    first, second = smooth_images(rng, 20, 30)
    flow = smooth_flow(rng, 20, 30)
    result = refined_by_the_page(tmp_path, first, second, flow, manifest)
    np.testing.assert_array_equal(result, flow)


@pytest.mark.skipif(not INSTALLED.is_dir(), reason="needs npm ci --prefix engine/web")
@pytest.mark.parametrize("refine", [None, "variational"])
def test_flow_of_the_worker_is_that_of_the_engine(refine, tiny_bundle, tmp_path, rng):
    """Of a padded size. Opening it compares its network with the pair of `flow web`."""
    bundle, site = tmp_path / "bundle", tmp_path / "site"
    shutil.copytree(tiny_bundle, bundle)
    write_manifest(bundle, replace(read_manifest(bundle), refine=refine))
    assert main(["web", str(bundle), "-o", str(site)]) == 0
    first, second = smooth_images(rng, 71, 100)
    pixels = {
        name: np.pad(image, [(0, 0), (0, 0), (0, 1)]).ravel().tolist()
        for name, image in {"first": first, "second": second}.items()
    }
    (site / "images.json").write_text(json.dumps({"width": 100, "height": 71, **pixels}))
    (site / "package.json").write_text('{"type": "module"}')
    subprocess.run([NODE, WORKER, site], check=True)
    flow = np.fromfile(site / "flow.bin", np.float32).reshape(71, 100, 2)
    with engine.load(bundle, backend="onnxruntime", threads=1) as flow_engine:
        assert_close(flow, flow_engine.infer(first, second))
