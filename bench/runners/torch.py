"""Runners of PyTorch, the reference.

``python -m bench.runners.torch NETWORK`` prints the weights that a run uses as JSON, for the parent
process, which does not import torch.
"""

import argparse
import hashlib
import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bench.harness.bundles import UNTRAINED
from bench.harness.worker import Job
from bench.runners.refinement import refined_flows
from engine.errors import BackendError
from engine.system.command import run
from export.graph.deployable import Deployable
from export.graph.precision import HalfNetwork
from training.networks import NETWORKS, build_network
from training.normalise import NORMALISATIONS
from training.weights import load_weights, network_from_weights, save_weights, shipped_weights


class TorchRunner:
    """The exported network in PyTorch, from images to flow in host memory, refined as the engine's.

    Images are padded to the network's divisor by repeating the edge; the flow is cropped.
    """

    def __init__(self, job: Job, *, device: str = "cpu", mode: str | None = None) -> None:
        """Open it on a device; ``mode`` is that of ``torch.compile``, None for eager mode."""
        if job.weights is None:
            raise BackendError(f"no weights for {job.network}; pass --weights FILE.")
        torch.set_num_threads(job.threads)
        # TF32 has ten bits of mantissa: such a row would not be fp32.
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
        self.device = device
        self.runtime_version = torch.__version__
        model = deployable(job.network, Path(job.weights), job.precision).to(device)
        # Convolutions are fastest in this layout, on a CPU (by 5 to 10 %) and on tensor cores.
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._divisor = model.divisor
        self._refine, self._threads = NETWORKS[job.network].refine, job.threads
        self._forward: Any = torch.compile(model, mode=mode, dynamic=False) if mode else model
        self._resident: tuple[torch.Tensor, ...] = ()

    def run(self, image1: NDArray[np.uint8], image2: NDArray[np.uint8]) -> NDArray[np.float32]:
        height, width = image1.shape[1:3]
        padding = ((0, 0), (0, -height % self._divisor), (0, -width % self._divisor), (0, 0))
        if np.any(padding):
            image1, image2 = (np.pad(image, padding, mode="edge") for image in (image1, image2))
        self._resident = tuple(
            torch.from_numpy(image).to(self.device) for image in (image1, image2)
        )
        flow = self._flow().cpu().numpy()
        flow = refined_flows(self._refine, image1, image2, flow, threads=self._threads)
        return flow[:, :height, :width]

    def device_ms(self) -> float | None:
        if self.device == "cpu":
            return None
        event: Any = torch.cuda.Event
        start, end = event(enable_timing=True), event(enable_timing=True)
        start.record()
        self._flow()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end))

    def close(self) -> None:
        del self._forward, self._resident

    def _flow(self) -> torch.Tensor:
        with torch.inference_mode():
            flow: torch.Tensor = self._forward(*self._resident)
        return flow


def open_eager(job: Job) -> TorchRunner:
    return TorchRunner(job)


def open_compiled(job: Job) -> TorchRunner:
    _check_compiler()
    return TorchRunner(job, mode="default")


def open_cuda(job: Job) -> TorchRunner:
    _check_cuda()
    return TorchRunner(job, device="cuda:0")


def open_cuda_compiled(job: Job) -> TorchRunner:
    """Open PyTorch's fastest mode: kernels chosen by measurement, launched as a CUDA graph."""
    _check_cuda()
    _check_compiler()
    if importlib.util.find_spec("triton") is None:
        raise BackendError("torch.compile needs Triton on a GPU; install triton.")
    return TorchRunner(job, device="cuda:0", mode="max-autotune")


def _check_cuda() -> None:
    if not torch.cuda.is_available():
        raise BackendError(
            f"PyTorch {torch.__version__} sees no CUDA device; install a CUDA build of it."
        )


def _check_compiler() -> None:
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        raise BackendError("torch.compile needs a C++ compiler; install g++ or clang.")


def deployable(network: str, weights: Path, precision: str) -> Deployable:
    """Build the deployable network of a weights file, ready for inference.

    In fp16 it is the exported network: autocast would convert the weights for each pair.
    """
    loaded = load_weights(weights)
    normalisation = NORMALISATIONS[loaded.metadata["normalisation"]]()
    built: nn.Module = network_from_weights(network, loaded)
    if precision == "fp16":
        built = HalfNetwork(built, fp32_islands=NETWORKS[network].fp32_islands)
    return Deployable(built, normalisation).eval()


def weights_for(network: str, *, given: Path | None, cache: Path) -> Path:
    """Return the given weights, else the shipped ones, else seeded random ones in the cache.

    Raises:
        ValueError: there is no such network.
    """
    if given is not None:
        return given
    try:
        return shipped_weights(network)
    except FileNotFoundError:
        path = cache / f"{network}-random.safetensors"
        state_dict = build_network(network, seed=0).state_dict()
        # Kept if equal: bundles refer to the file's hash, and the order of its metadata varies.
        if not _holds(path, state_dict):
            save_weights(path, state_dict, _random_metadata(network))
        return path


def _holds(path: Path, state_dict: dict[str, torch.Tensor]) -> bool:
    """Whether the file has exactly these tensors."""
    if not path.is_file():
        return False
    found = load_weights(path).state_dict
    return found.keys() == state_dict.keys() and all(
        torch.equal(found[name], value) for name, value in state_dict.items()
    )


def _random_metadata(network: str) -> dict[str, str]:
    return {
        "network": network,
        "normalisation": "fixed_mean",
        "licence": "MIT",
        "source": f"{UNTRAINED} weights, never trained",
        "data": "none",
        "steps": "0",
        "epe": "{}",
        "commit": "none",
    }


def main() -> int:
    parser = argparse.ArgumentParser(description="Print the weights that a run uses as JSON.")
    parser.add_argument("network")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("build/bench"))
    options = parser.parse_args()
    try:
        path = weights_for(options.network, given=options.weights, cache=options.cache)
        source = load_weights(path).metadata["source"]
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    print(json.dumps({"path": str(path), "sha256": digest, "source": source}))
    return 0


if __name__ == "__main__":
    run(main)
