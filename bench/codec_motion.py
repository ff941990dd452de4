"""Compare no global motion compensation, the pre-pass and the codec's vectors on panning clips.

python -m bench.codec_motion
python -m bench.codec_motion --size 1080x1920 --json build/codec-motion.json

A camera pans, zooms and turns over a photograph of scikit-image. The clip is compressed as H.264 by
PyAV with x264's default options, read and inferred as ``flow video`` does. The true flow is that of
the camera. Methods take turns; a time is the median of the rounds of wall time per flow, reading
included. ``--json`` writes::

    {"schema": 1, "environment": {...}, as of ``bench.compare``, "network": "...",
     "setting": {"height", "width", "frames", "speed", "backend"},
     "rows": [{"photo", "motion_px", "method", "epe_px", "ms", "known"}]}

``motion_px`` is the mean length of the true flow. ``epe_px`` is the end-point error over the pixels
that are still in the next frame. ``known`` is the number of flows whose motion the codec gave.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import skimage.data
from rich.table import Table

import engine
from bench.cli import add_bundle_options, console, deliver, output_file, reported
from bench.environment import describe
from engine.flow.affine import Affine, add_affine, composed, inverse
from engine.flow.metrics import endpoint_error
from engine.flow.warp import lands_inside
from engine.system.argument_parser import RaisingParser
from engine.system.argument_types import int_between, positive_float, positive_int, size
from engine.system.command import run
from engine.system.progress import progress_bar
from engine.system.threads import available_threads
from engine.types import Flow, Image
from engine.video.container import import_av
from engine.video.pipeline import FlowFrame, flow_frames
from engine.video.reader import VideoReader

PHOTOS = ("astronaut", "coffee", "rocket")
ROUNDS = 3
_RATE = 25
# Method: whether motion is compensated, and whether the codec's vectors replace the pre-pass.
METHODS = {"none": (False, False), "pre-pass": (True, False), "codec": (True, True)}


def camera(index: int, speed: float, height: int, width: int) -> Affine:
    """Return where pixels of a frame are in the photograph, relative to its centre."""
    at = index / _RATE * speed
    angle, zoom = 0.12 * np.sin(2 * at), np.exp(0.15 * np.sin(3 * at + 1))
    linear = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    away = width * np.array([0.6 * np.sin(1.3 * at), 0.25 * np.sin(2.1 * at)])
    return np.column_stack([linear, away - linear @ centre])


def view(photo: Image, motion: Affine, height: int, width: int) -> Image:
    """Return what the camera sees; the photograph is mirrored at its borders."""
    middle = np.array([[1, 0, photo.shape[1] / 2], [0, 1, photo.shape[0] / 2]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    sides, border = (width, height), cv2.BORDER_REFLECT_101
    seen = cv2.warpAffine(photo, composed(middle, motion), sides, flags=flags, borderMode=border)
    return np.asarray(seen, np.uint8)


def write_clip(path: Path, name: str, motions: Sequence[Affine], height: int, width: int) -> None:
    """Write the views of a photograph, enlarged to twice the frames' width."""
    photo = getattr(skimage.data, name)()
    scale = 2 * width / photo.shape[1]
    photo = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    av = import_av()
    with av.open(f"file:{path}", "w") as container:
        stream = container.add_stream("libx264", rate=_RATE)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for motion in motions:
            image = view(photo, motion, height, width)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode(None))


def true_flow(earlier: Affine, later: Affine, height: int, width: int) -> Flow:
    """Return the flow between two views."""
    flow = np.zeros((height, width, 2), np.float32)
    add_affine(flow, composed(inverse(later), earlier))
    return flow


def steps_of(
    clip: Path, flow_engine: engine.FlowEngine, *, known: bool, threads: int
) -> Iterator[FlowFrame]:
    """Yield the flows of a clip; ``known``: with the motion of the codec."""
    with VideoReader(clip, motion=known, threads=threads) as reader:
        yield from flow_frames(reader, flow_engine, known_motion=known)


def score(steps: Iterable[FlowFrame], truths: Sequence[Flow]) -> dict[str, float]:
    """Return the errors of flows, and of how many the motion was known."""
    errors, known = [], 0
    for step, truth in zip(steps, truths, strict=True):
        errors.append(endpoint_error(step.flow, truth)[lands_inside(truth)].mean())
        known += step.second.motion is not None
    return {"epe_px": float(np.mean(errors)), "known": known}


def ms_per_flow(steps: Iterable[FlowFrame]) -> float:
    """Return the wall time of a flow, in milliseconds."""
    start = time.perf_counter()
    count = sum(1 for _ in steps)
    return (time.perf_counter() - start) / count * 1e3


def measure(
    clip: Path, engines: Sequence[engine.FlowEngine], truths: Sequence[Flow], threads: int
) -> list[dict[str, Any]]:
    """Measure all methods on a clip; ``engines`` are one without and one with compensation."""
    runs = {
        name: partial(steps_of, clip, engines[compensated], known=known, threads=threads)
        for name, (compensated, known) in METHODS.items()
    }
    rows: list[dict[str, Any]] = [
        {"method": name} | score(steps(), truths) for name, steps in runs.items()
    ]
    times = [[ms_per_flow(steps()) for steps in runs.values()] for _ in range(ROUNDS)]
    for row, ms in zip(rows, zip(*times, strict=True), strict=True):
        row["ms"] = median(ms)
    return rows


def compare(given: argparse.Namespace, progress: Callable[[str], None]) -> dict[str, Any]:
    """Measure all methods on clips of all photographs; return the object that ``--json`` writes."""
    height, width = given.size
    motions = [camera(index, given.speed, height, width) for index in range(given.frames)]
    truths = [true_flow(*pair, height, width) for pair in pairwise(motions)]
    motion = float(np.mean([np.linalg.norm(truth, axis=-1).mean() for truth in truths]))
    threads = given.threads or available_threads()
    rows = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        engines = [
            stack.enter_context(
                engine.load(
                    given.bundle,
                    backend=given.backend,
                    threads=threads,
                    compensate_motion=each,
                    trust=given.trust,
                )
            )
            for each in (False, True)
        ]
        for photo in PHOTOS:
            progress(photo)
            clip = Path(folder) / f"{photo}.mp4"
            write_clip(clip, photo, motions, height, width)
            found = measure(clip, engines, truths, threads)
            rows += [{"photo": photo, "motion_px": motion} | row for row in found]
        network, backend = engines[0].manifest.network, engines[0].backend.name
    return {
        "schema": 1,
        "environment": describe(threads=threads),
        "network": network,
        "setting": {
            "height": height,
            "width": width,
            "frames": given.frames,
            "speed": given.speed,
            "backend": backend,
        },
        "rows": rows,
    }


def heading(result: dict[str, Any]) -> str:
    """Return what was measured."""
    setting, motion = result["setting"], result["rows"][0]["motion_px"]
    return (
        f"{result['network']} in {setting['backend']}, {setting['height']}x{setting['width']}, "
        f"motion {motion:.1f} px"
    )


def table(result: dict[str, Any]) -> Table:
    """Return the mean of each method over the photographs."""
    pairs = result["setting"]["frames"] - 1
    drawn = Table("method", "EPE px", "ms a flow", "known motion")
    for method in METHODS:
        rows = [row for row in result["rows"] if row["method"] == method]
        epe, ms = (float(np.mean([row[key] for row in rows])) for key in ("epe_px", "ms"))
        known = sum(row["known"] for row in rows)
        drawn.add_row(method, f"{epe:.2f}", f"{ms:.1f}", f"{known} of {len(rows) * pairs}")
    return drawn


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, or 2 for a usage error or one of the engine."""

    def measure_and_show() -> None:
        given = _parser().parse_args(arguments)
        with progress_bar("starting", None) as progress:
            result = compare(given, progress)
        deliver(result, given.json, partial(_show, result))

    return reported(measure_and_show)


def _show(result: dict[str, Any]) -> None:
    print(heading(result))
    console(100).print(table(result))


def _parser() -> argparse.ArgumentParser:
    parser = RaisingParser(
        prog="python -m bench.codec_motion",
        description="Compare no global motion compensation, the pre-pass and the codec's motion "
        "vectors on clips of a moving camera.",
    )
    add = parser.add_argument
    # fmt: off
    add_bundle_options(parser)
    add("--backend", default="auto", help="default: auto")
    add("--size", type=size, default=(384, 512), metavar="HxW", help="default: 384x512")
    add("--frames", type=int_between(2, 100_000), default=50, metavar="N", help="default: 50")
    add("--speed", type=positive_float, default=1.0, metavar="X", help="of the camera; default: 1")
    add("--threads", type=positive_int, metavar="N", help="CPU threads; default: all CPUs")
    add("--json", type=output_file, metavar="FILE", help="write all results")
    # fmt: on
    return parser


if __name__ == "__main__":
    run(main)
