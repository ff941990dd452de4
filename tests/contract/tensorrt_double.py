"""Doubles of TensorRT's classes that compute a known flow."""

import hashlib
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from engine.backends.tensorrt import backend as tensorrt
from engine.backends.tensorrt import package as tensorrt_package
from engine.bundle.manifest import BundleFile, Manifest, SizeProfile, WeightsOrigin
from engine.bundle.schema1 import role_of
from tests.contract.fake_pycuda import FakeDriver
from tests.contract.real_bindings import double

PACKAGE = os.environ.get("TENSORRT_PACKAGE", "tensorrt_rtx")
PLAN = tensorrt_package.PLAN_FILES[PACKAGE]
CAPTURES_GRAPHS = PACKAGE == "tensorrt"
PROFILE = SizeProfile(min=(1, 64, 64), opt=(1, 64, 128), max=(4, 128, 256))


class Contexts:
    """Doubles of execution contexts. Their flow is the channel sum of each image."""

    def __init__(self, trt: ModuleType, cu: FakeDriver) -> None:
        self.trt, self.cu = trt, cu
        self.made: list[Any] = []
        self.configs: list[Any] = []
        self.on_enqueue = lambda: None
        self.refused: set[str] = set()
        kinds = trt.DataType
        self.types = {"image1": kinds.UINT8, "image2": kinds.UINT8, "flow": kinds.FLOAT}
        self.channels = 2  # of the flow
        self.inputs: dict[str, np.ndarray] = {}  # of the last run
        # What TensorRT for RTX compiles, and the content of its runtime cache.
        self.kernels, self.compiled = b"kernels", b""
        self.attached: list[Any] = []

    def create_config(self) -> Any:
        return double(
            self.trt.IRuntimeConfig,
            create_runtime_cache=self._create_cache,
            set_runtime_cache=self._attach,
        )

    def _create_cache(self) -> Any:
        if "create_runtime_cache" in self.refused:
            return None
        return double(self.trt.IRuntimeCache, deserialize=self._load, serialize=self._save)

    def _attach(self, cache: Any) -> bool:
        assert isinstance(cache, self.trt.IRuntimeCache)
        self.attached.append(cache)
        return "set_runtime_cache" not in self.refused

    def _load(self, blob: bytes) -> bool:
        self.cu.current()
        if "deserialize" in self.refused:
            self._log("the runtime cache is of another GPU")
            return False
        self.compiled = blob
        return True

    def _save(self) -> bytes | None:
        self.cu.current()
        return None if "serialize" in self.refused else self.compiled

    def _log(self, error: str) -> None:
        log = tensorrt_package.message_log(self.trt)
        log.log(self.trt.ILogger.Severity.ERROR, error)

    def create(self, *, runtime_config: Any = None) -> Any:
        if "create_execution_context" in self.refused:
            return None
        self.configs.append(runtime_config)
        shapes: dict[str, tuple[int, ...]] = {}
        addresses: dict[str, int] = {}
        self.made.append(
            double(
                self.trt.IExecutionContext,
                set_input_shape=lambda name, shape: self._set_shape(shapes, name, shape),
                get_tensor_shape=lambda name: self.trt.Dims((*shapes["image1"][:3], self.channels)),
                set_tensor_address=lambda name, memory: self._set_address(addresses, name, memory),
                execute_async_v3=lambda stream_handle: self._execute(
                    shapes, dict(addresses), stream_handle
                ),
            )
        )
        return self.made[-1]

    def _set_shape(self, shapes: dict[str, Any], name: str, shape: tuple[int, ...]) -> bool:
        if shape[1] > PROFILE.max[1]:
            self._log("shape does not satisfy any profile")
            return False
        shapes[name] = shape
        return True

    def _set_address(self, addresses: dict[str, int], name: str, memory: int) -> bool:
        assert memory % 256 == 0, "setTensorAddress: must have at least 256-byte alignment"
        addresses[name] = memory
        return True

    def _execute(self, current: Any, addresses: Any, stream_handle: int) -> bool:
        self.cu.current()
        self.on_enqueue()
        if "execute_async_v3" in self.refused:
            return False
        shapes = dict(current)
        self.compiled = self.kernels
        self.cu.queues[stream_handle].submit(lambda: self._compute(current, shapes, addresses))
        return True

    def _compute(self, current: Any, shapes: Any, addresses: Any) -> None:
        # A graph captured for another shape would read the context's state of this one.
        assert shapes == current, "the context's shape has changed since"
        sums = []
        for name in ("image1", "image2"):
            image = self.cu.memory(addresses[name], int(np.prod(shapes[name])))
            self.inputs[name] = image.reshape(shapes[name]).copy()
            sums.append(self.inputs[name].sum(-1, dtype=np.float32))
        flow = np.stack(sums, -1)
        self.cu.memory(addresses["flow"], flow.nbytes)[:] = flow.reshape(-1).view(np.uint8)


def install_driver(monkeypatch, driver: FakeDriver) -> FakeDriver:
    monkeypatch.setitem(sys.modules, "pycuda", ModuleType("pycuda"))
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    return driver


def install_runtime(monkeypatch, bindings: ModuleType, deserialize: Any) -> None:
    def runtime(logger: Any) -> Any:
        assert isinstance(logger, bindings.ILogger)
        return double(bindings.real.Runtime, deserialize_cuda_engine=deserialize)

    monkeypatch.setattr(bindings, "Runtime", runtime)


def manifest_with(*files: str, bundle: Path | None = None) -> Manifest:
    """A manifest of these files in ``bundle``; None: of files with the content ``b"plan"``."""
    tools = {"model.plan": "tensorrt 11.0.0.1", "model.rtx": "tensorrt_rtx 1.5.0.1"}
    return Manifest(
        network="flownets_slim",
        precision="fp16",
        layout="NHWC",
        divisor=64,
        profile=PROFILE,
        files={
            name: BundleFile(
                role=role_of(name),
                precision=None if name.endswith(".so") else "fp16",
                bytes=4,
                sha256=hashlib.sha256(
                    (bundle / name).read_bytes() if bundle else b"plan"
                ).hexdigest(),
                tool=tools.get(name, "torch"),
                compute_capability="9.0" if "plan" in name else None,
            )
            for name in files
        },
        parity=(),
        gate=None,
        weights=WeightsOrigin("0" * 64, "", "MIT", {}),
    )


def open_backend(
    bundle: Path, *, device: int = 0, manifest: Manifest | None = None
) -> tensorrt.TensorRTBackend:
    manifest = manifest or manifest_with(PLAN)
    return tensorrt.TensorRTBackend(bundle, manifest, device=device, threads=None, streams=1)


def pair(batch: int, height: int, width: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    shape = (2, batch, height, width, 3)
    return tuple(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def expected_flow(images: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return np.stack([image.sum(-1, dtype=np.float32) for image in images], -1)


def check_run(backend: Any, size: tuple[int, int, int], *, seed: int = 0) -> np.ndarray:
    images = pair(*size, seed=seed)
    flow = backend.run(*images)
    np.testing.assert_array_equal(flow, expected_flow(images))
    return flow
