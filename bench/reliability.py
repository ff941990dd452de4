"""How well confidence and the forward-backward test find wrong and occluded flow.

python -m bench.reliability --data pairs
python -m bench.reliability --data sintel/final:DIR --bundle build/raft
"""

import argparse
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import engine
from bench.cli import add_bundle_options, reported
from engine.backends.registry import AUTO
from engine.data.files import read_pair
from engine.data.pair import Pair, PairsError
from engine.data.sources import find_source, spread
from engine.engine import FlowEngine
from engine.flow.metrics import endpoint_error
from engine.system.argument_parser import RaisingParser
from engine.system.argument_types import positive_int
from engine.system.command import run

# Shares of the pixels that are left out, least confident first.
REMOVED = np.arange(20) / 20


class Reliability(NamedTuple):
    """Of one pair.

    Attributes:
        epe: mean end-point error, pixels.
        curves: by rank, the error of the pixels left over relative to `epe`, for each of `REMOVED`;
            the last, by the error itself, is the best possible one.
        counts: pixels found and occluded, found alone, occluded alone; None: occlusion is unknown.
    """

    epe: float
    curves: dict[str, NDArray[np.float64]]
    counts: NDArray[np.int64] | None

    def area(self, rank: str) -> float:
        """Return the area between a rank's curve and the best one (AUSE): 0 is perfect."""
        return float(np.mean(self.curves[rank] - self.curves["the error itself"]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0 or 2 (the request cannot be met)."""

    def measure_and_print() -> None:
        given = _parser().parse_args(arguments)
        pairs = [read_pair(files) for files in spread(find_source(given.data), given.limit)]
        with engine.load(given.bundle, backend=given.backend, trust=given.trust) as flow_engine:
            print("\n".join(table([measured(pair, flow_engine) for pair in pairs])))

    return reported(measure_and_print)


def measured(pair: Pair, flow_engine: FlowEngine) -> Reliability:
    """Compute the flow of a pair in both directions and rank its errors.

    Raises:
        PairsError: The pair has no true flow.
    """
    valid = pair.valid
    if not valid.any():
        raise PairsError(f"{pair.name} has no true flow, which this command needs.")
    forward, backward = flow_engine.infer(pair.image1, pair.image2, backward=True)
    error = endpoint_error(forward, pair.flow)[valid]
    images = pair.image1, pair.image2, forward
    ranks = {
        "confidence with backward": engine.confidence(*images, backward)[valid],
        "confidence without": engine.confidence(*images)[valid],
        "small motion first": -np.hypot(*np.moveaxis(forward, -1, 0))[valid],
        "the error itself": -error,
    }
    curves = {name: sparsification(error, rank) for name, rank in ranks.items()}
    counts = None
    if pair.occluded is not None:
        found = engine.occlusion(forward, backward)
        both = found & pair.occluded, found & ~pair.occluded, ~found & pair.occluded
        counts = np.array([np.count_nonzero(mask[valid]) for mask in both])
    return Reliability(float(error.mean()), curves, counts)


def sparsification(error: NDArray[np.floating], rank: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the mean error of the highest ranks relative to that of all, for each of `REMOVED`."""
    sums = np.cumsum(error[np.argsort(-rank, kind="stable")], dtype=np.float64)
    kept = np.maximum(1, np.rint(len(error) * (1 - REMOVED))).astype(int)
    mean = sums[-1] / len(error)
    return np.asarray(sums[kept - 1] / kept / (mean or 1))


def table(results: Sequence[Reliability]) -> Iterable[str]:
    """Yield the lines of the table: means over the pairs."""
    yield f"{len(results)} pairs, EPE {np.mean([result.epe for result in results]):.2f} px"
    yield f"{'rank':26}{'AUSE':>6}{'EPE of 90 %':>13}{'of 50 %':>9}"
    for rank in results[0].curves:
        area = np.mean([result.area(rank) for result in results])
        curve = np.mean([result.curves[rank] for result in results], axis=0)
        yield f"{rank:26}{area:6.3f}{curve[2]:13.2f}{curve[10]:9.2f}"
    counts = [result.counts for result in results if result.counts is not None]
    if counts:
        right, wrong, missed = np.sum(counts, axis=0)
        yield (
            f"occlusion: {right / max(right + wrong, 1):.0%} of what is found is occluded, "
            f"{right / max(right + missed, 1):.0%} of what is occluded is found"
        )


def _parser() -> RaisingParser:
    parser = RaisingParser(
        prog="python -m bench.reliability",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    # fmt: off
    add("--data", required=True, metavar="[NAME:]DIR", help="pairs with true flow")
    add("--limit", type=positive_int, default=100, metavar="N",
        help="number of pairs (default: 100)")
    add_bundle_options(parser)
    add("--backend", default=AUTO, metavar="NAME", help=f"default: {AUTO}")
    # fmt: on
    return parser


if __name__ == "__main__":
    run(main)
