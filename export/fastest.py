"""`--precision auto`: build in every precision and keep the fastest on this machine."""

import contextlib
import copy
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import engine
from engine.backends.registry import AUTO_ORDER
from engine.bundle.manifest import Manifest
from engine.bundle.signature import Signer
from engine.errors import BackendError
from export.build_request import Request
from export.bundle import VerificationError, build_into, verified_backends
from export.int8.gate import GateError
from export.progress import step
from export.staging import move_into_place, staging
from export.verify.noise import noise
from export.verify.parity import EXCUSES

_ROUNDS, _CALLS = 6, 5


def build_fastest(
    requests: Sequence[Request], output: Path, signer: Signer | None = None
) -> Manifest:
    """Build each request and keep the bundle that `engine.load` runs fastest.

    Args:
        requests: the same network in several precisions, fp32 among them.
        output: the bundle's folder.
        signer: signs the bundle; None: it is not signed.

    Raises:
        EngineError: as `export.bundle.build_bundle`; a precision that is not accurate enough is
            skipped with a printed reason.
    """
    output = output.resolve()
    built: dict[str, Manifest] = {}
    with staging(output) as folder:
        for request in requests:
            try:
                # The precisions share a network, which a build leaves without weights.
                own = replace(request, network=copy.deepcopy(request.network))
                (folder / request.precision).mkdir()
                built[request.precision] = build_into(folder / request.precision, own)
            except (GateError, VerificationError) as error:
                if request.precision == "fp32":
                    raise
                print(f"skipped: {request.precision}: {error}")
        with step("fastest") as current:
            times = latencies_ms({name: folder / name for name in built}, requests[0])
            fastest = min(times, key=times.__getitem__)
            listed = ", ".join(f"{name} {ms:.1f} ms" for name, ms in times.items())
            current.result = f"{fastest}, by median latency: {listed}"
        if signer is not None:
            signer.sign(folder / fastest)
        move_into_place(folder / fastest, output)
    return built[fastest]


def latencies_ms(bundles: Mapping[str, Path], request: Request) -> dict[str, float]:
    """Return the median latency of `FlowEngine.infer` at the request's size, interleaved."""
    pair = noise(*request.profile.opt, seed=0)
    backends = verified_backends(request)
    times: dict[str, list[float]] = {name: [] for name in bundles}
    with contextlib.ExitStack() as stack:
        engines = {
            name: stack.enter_context(_opened(path, backends)) for name, path in bundles.items()
        }
        for _ in range(_ROUNDS):
            for name, flow_engine in engines.items():
                flow_engine.infer(pair.image1, pair.image2)  # warm the caches again
                for _ in range(_CALLS):
                    start = time.perf_counter()
                    flow_engine.infer(pair.image1, pair.image2)
                    times[name].append((time.perf_counter() - start) * 1e3)
    return {name: float(np.median(samples)) for name, samples in times.items()}


def _opened(bundle: Path, backends: Collection[str]) -> engine.FlowEngine:
    """Open a bundle on the first backend of `auto` that it was verified with.

    Raises:
        BackendError: none of them can run here.
    """
    for name in AUTO_ORDER:
        if name in backends:
            with contextlib.suppress(*EXCUSES):
                return engine.load(bundle, backend=name)
    raise BackendError(
        f"none of {', '.join(backends)} can run here, so the latencies cannot be measured"
    )
