"""Bundles: the manifest, and graphs whose hash the manifest has, as of a bundle made to do harm."""

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
import onnx

import engine
from engine.bundle.manifest import BundleFile, read_manifest, write_manifest
from engine.bundle.strict_json import strict_json
from tests.fuzz.reader import Reader, scratch
from tests.support.tiny_network import manifest_for, tiny_model

NAMES = ("manifest", "strict JSON", "graph: onnxruntime", "graph: openvino")


def readers() -> list[Reader]:
    """See `Reader`."""
    return [
        Reader(NAMES[0], _manifests, _read_manifest),
        Reader(NAMES[1], _manifests, _read_json, (ValueError, RecursionError)),
        *(
            Reader(f"graph: {backend}", _graphs, functools.partial(_run_graph, backend))
            for backend in ("onnxruntime", "openvino")
        ),
    ]


@functools.cache
def _bundle() -> Path:
    bundle = scratch() / "bundle"
    bundle.mkdir()
    onnx.save(tiny_model(), bundle / "model.onnx")
    write_manifest(bundle, manifest_for(bundle))
    return bundle


@functools.cache
def _manifests() -> list[bytes]:
    default = (Path(engine.__file__).parent / "bundle" / "default" / "manifest.json").read_text()
    short = json.dumps(json.loads(default))
    return [short.encode(), (_bundle() / "manifest.json").read_bytes()]


def _read_manifest(data: bytes) -> None:
    folder = scratch() / "manifest"
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_bytes(data)
    read_manifest(folder)


def _read_json(data: bytes) -> None:
    strict_json(data.decode(errors="replace"))


def _graphs() -> list[bytes]:
    return [(_bundle() / "model.onnx").read_bytes()]


@functools.cache
def _images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)


def _run_graph(backend: str, data: bytes) -> None:
    bundle = scratch() / "tampered"
    bundle.mkdir(exist_ok=True)
    path = bundle / "model.onnx"
    path.write_bytes(data)
    file = BundleFile.of(path, role="network", precision="fp32", tool="onnx")
    manifest = dataclasses.replace(read_manifest(_bundle()), files={"model.onnx": file})
    write_manifest(bundle, manifest)
    with engine.load(bundle, backend=backend, threads=1) as opened:
        flow = opened.infer(*_images())
    assert flow.shape == (64, 64, 2)
    assert flow.dtype == np.float32
