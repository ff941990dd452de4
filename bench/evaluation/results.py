"""The results of a run: scores of each subset and of each of its images."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.environment import describe
from bench.evaluation.checkpoint import Entry
from bench.evaluation.subsets import Subset
from bench.harness.stats import summarise
from bench.harness.worker import peak_memory_mb
from engine.engine import FlowEngine
from engine.flow.figures import over_images, over_pixels
from engine.flow.regions import scores

Json = dict[str, Any]
_OF_AN_IMAGE = ("epe", "px1", "px3", "px5", "fl", "wauc")


def result_of(
    subsets: Sequence[Subset], entries: Sequence[Entry], flow_engine: FlowEngine, *, threads: int
) -> Json:
    """Return the object that ``--json`` writes.

    Its ``subsets`` have what `Subset.to_json` returns and

    - ``latency_ms``: of single pairs;
    - ``scores``: `engine.flow.regions.scores` over the pixels of all images;
    - ``epe_per_image``: the mean of the images' mean errors;
    - ``images``: name, size, ms and the scores of each.

    Scores are None without true flow.
    """
    manifest, backend = flow_engine.manifest, flow_engine.backend
    return {
        "schema": 1,
        "environment": describe(threads=threads),
        "method": {
            "network": manifest.network,
            "precision": manifest.precision,
            "weights": manifest.weights.source,
            "weights_sha256": manifest.weights.sha256,
            "backend": backend.name,
            "runtime_version": backend.runtime_version,
            "device": backend.device,
            "peak_memory_mb": round(peak_memory_mb(), 1),
        },
        "subsets": [
            _subset_result(subset, [entry for entry in entries if entry["subset"] == index])
            for index, subset in enumerate(subsets)
        ],
    }


def worst_images(result: Mapping[str, Any], count: int) -> list[Json]:
    """Return the images of a subset with the largest mean errors, the worst first."""
    known = [image for image in result["images"] if image["epe"] is not None]
    return sorted(known, key=lambda image: image["epe"], reverse=True)[:count]


def _subset_result(subset: Subset, entries: Sequence[Entry]) -> Json:
    images = [_image(entry) for entry in entries]
    sums = [np.array(entry["sums"]) for entry in entries if entry["sums"]]
    return {
        **subset.to_json(),
        "latency_ms": summarise([entry["ms"] for entry in entries]),
        "scores": over_pixels(sums),
        "epe_per_image": over_images(image["epe"] for image in images),
        "images": images,
    }


def _image(entry: Entry) -> Json:
    every = scores(np.array(entry["sums"]))["all"] if entry["sums"] else {}
    figures = {name: every.get(name) for name in _OF_AN_IMAGE}
    return {"name": entry["name"], "size": entry["size"], "ms": entry["ms"], **figures}
