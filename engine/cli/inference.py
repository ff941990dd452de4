"""Options of the verbs that compute flow, and the engine that they open."""

import argparse

import engine
from engine.backends.registry import AUTO, BACKENDS
from engine.cli import common
from engine.system.argument_types import name_among, positive_int, size_or_side
from engine.system.threads import available_threads

# Computed at the same time: each takes memory.
_MOST_TILES = 4


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of inference."""
    group = common.add_engine_options(parser)
    group.add_argument(
        "--backend",
        type=name_among((AUTO, *BACKENDS), "backend"),
        default=AUTO,
        metavar="NAME",
        help=f"{AUTO} (default), {', '.join(BACKENDS)}",
    )
    group.add_argument(
        "--compensate-motion",
        action="store_true",
        help="compensate the dominant global motion first (slower; better under camera motion); a "
        "video's own motion vectors show it where its codec has some",
    )
    group.add_argument(
        "--refine",
        choices=("variational", "none"),
        help="refine the network's flow by a variational method, or not (default: as the bundle "
        "says; slower, with smaller errors)",
    )
    group.add_argument(
        "--tile",
        type=size_or_side,
        metavar="HxW|N",
        help="compute larger images in overlapping tiles of this size, with bounded memory",
    )
    group.add_argument(
        "--max-side",
        type=positive_int,
        metavar="N",
        help="downscale images with a longer side to N pixels, and upscale their flow (faster; "
        "better where motion is very large)",
    )
    group.add_argument(
        "--iterations",
        type=positive_int,
        metavar="N",
        help="updates of RAFT, or passes of a coarse-to-fine network: fewer are faster (default: "
        "the bundle's own number)",
    )


def open_engine(options: argparse.Namespace) -> engine.FlowEngine:
    """Open the engine that the options ask for."""
    return engine.load(
        options.bundle,
        backend=options.backend,
        device=options.device,
        threads=options.threads,
        streams=_tiles_at_once(options),
        compensate_motion=options.compensate_motion,
        refine=options.refine,
        tile=options.tile,
        max_side=options.max_side,
        iterations=options.iterations,
        trust=options.trust,
    )


def _tiles_at_once(options: argparse.Namespace) -> int:
    """Return the number of streams: tiles side by side are faster than threads that share each."""
    if options.tile is None:
        return 1
    return min(options.threads or available_threads(), _MOST_TILES)


def describe(flow_engine: engine.FlowEngine) -> str:
    """Return network, precision, backend and device, for a summary."""
    manifest, backend = flow_engine.manifest, flow_engine.backend
    return f"{manifest.network} {manifest.precision}, {backend.name} on {backend.device}"
