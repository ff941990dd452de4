"""The bundle and the weights of each row: given, shipped, or built once and cached."""

import importlib.util
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.environment import ModuleError, fingerprint, run_module, versions
from bench.harness.plan import Row
from engine.backends.onnx_graphs import FEATURES
from engine.bundle.manifest import Manifest, read_manifest
from engine.bundle.shipped import DEFAULT_BUNDLE
from engine.bundle.signature import read_trusted
from engine.errors import BackendError
from engine.images import padded_size
from engine.system.argument_parser import UsageError
from engine.system.files import sha256_of

# Origin of random weights, as bench.runners.torch writes it.
UNTRAINED = "seeded random"
# A plan's size is a multiple of the network's divisor; 64 is a multiple of every divisor.
PADDING = 64
# A built bundle depends on these sources and packages.
BUILD_SOURCES = (
    "export/**/*.py", "kernels/**/*.py", "training/**/*.py", "engine/bundle/*.py",
    "engine/data/*.py", "engine/flow/**/*.py",
)  # fmt: skip
BUILD_PACKAGES = (
    "torch", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt",
    "tensorrt-rtx",
)  # fmt: skip


@dataclass(frozen=True)
class Weights:
    """The weights of PyTorch, whose flow is the reference."""

    path: Path
    sha256: str
    source: str


@dataclass(frozen=True)
class Bundle:
    path: Path
    manifest: Manifest


class Bundles:
    """Finds bundles and weights, and builds missing ones at most once in a run.

    Args:
        given: preferred bundles, in order; the one that ships with the engine follows them.
        trust: public key that signed the given bundles; None: they are not checked.
        weights: weights instead of the shipped ones; bundles of other weights are not used, unless
            they are given.
        cache: folder for built bundles.
        size: (H, W) that a built bundle is optimised for.
        batch: largest batch that a built bundle allows.

    Raises:
        BundleError: a given bundle cannot be read, or is not signed by the key.
        OSError: the weights cannot be read.
    """

    def __init__(
        self,
        given: Sequence[Path],
        *,
        trust: Path | None,
        weights: Path | None,
        cache: Path,
        size: tuple[int, int],
        batch: int,
    ) -> None:
        self._bundles = [Bundle(path, read_trusted(path, trust)) for path in given]
        if DEFAULT_BUNDLE.is_dir():
            self._bundles.append(Bundle(DEFAULT_BUNDLE, read_manifest(DEFAULT_BUNDLE)))
        self._built: list[Bundle] = []
        self._given = len(given)
        self._given_weights = weights
        self._given_sha256 = sha256_of(weights) if weights else None
        self._runs: dict[tuple[str, ...], str | ModuleError] = {}
        self._cache = cache
        self._size = size
        self._batch = batch

    def check_network(self, network: str) -> None:
        """Check that there is a bundle or an implementation in PyTorch of a network.

        Raises:
            ModuleError: there is neither.
        """
        if not any(bundle.manifest.network == network for bundle in self._bundles):
            self.weights_for(network)

    def check_given(self, rows: Iterable[Row]) -> None:
        """Check that each given bundle is used.

        Raises:
            UsageError: no row uses one of them.
        """
        chosen = [found.path for row in rows if (found := self._found(row)) is not None]
        for bundle in self._bundles[: self._given]:
            if bundle.path not in chosen:
                manifest = bundle.manifest
                raise UsageError(
                    f"--bundle {bundle.path}: no row uses it. It contains {manifest.network} in "
                    f"{manifest.precision}, which has no row in this run or another bundle; "
                    "expected one bundle per network and precision."
                )

    def weights_for(self, network: str) -> Weights | None:
        """Return the weights of a network; ``None`` without PyTorch, the only reader of them.

        Raises:
            ModuleError: there is no such network, or its weights cannot be read.
        """
        if importlib.util.find_spec("torch") is None:
            return None
        chosen = [] if self._given_weights is None else ["--weights", str(self._given_weights)]
        output = self._run_once(
            "bench.runners.torch", network, "--cache", str(self._cache), *chosen
        )
        found = json.loads(output)
        return Weights(Path(found["path"]), found["sha256"], found["source"])

    def bundle_for(self, row: Row) -> Bundle:
        """Return a bundle of a row's network and precision for its backend; build it if missing.

        Raises:
            BackendError: it cannot be built here.
            ModuleError: the build failed.
        """
        found = self._found(row)
        if found is not None:
            return found
        weights = self.weights_for(row.network)
        if weights is None:
            raise BackendError(
                f"no bundle of {row.network} in {row.precision} for {row.backend}: pass one with "
                "--bundle, or pip install 'flownet-engine[export]' to build it."
            )
        return self._build(row, weights)

    def is_trained(self, row: Row) -> bool:
        """Whether the weights of a row are trained; OpenCV has none and counts as trained."""
        kind = row.method.kind
        if kind == "opencv":
            return True
        weights = self.weights_for(row.network) if kind == "pytorch" else None
        source = weights.source if weights else self.bundle_for(row).manifest.weights.source
        return not source.startswith(UNTRAINED)

    def has_reference_weights(self, row: Row) -> bool:
        """Whether a row and PyTorch have the same weights, so that their flows can be compared."""
        weights = self.weights_for(row.network)
        return weights is not None and self.weights_sha256(row) == weights.sha256

    def weights_sha256(self, row: Row) -> str | None:
        """Return the hash of a row's weights; OpenCV has none."""
        kind = row.method.kind
        if kind == "opencv":
            return None
        if kind == "pytorch":
            weights = self.weights_for(row.network)
            return weights.sha256 if weights else None
        return self.bundle_for(row).manifest.weights.sha256

    def gflop(self, row: Row) -> float | None:
        """Return the 1e9 operations of a row's batch, from a manifest that has their number.

        None if no manifest has it, or if the pairs differ in size.
        """
        if row.size is None:
            return None
        for bundle in (*self._bundles, *self._built):
            manifest = bundle.manifest
            if manifest.network == row.network and manifest.operations is not None:
                size = padded_size(*row.size, manifest.divisor)
                return manifest.operations.gflop_at(*size) * row.batch
        return None

    def _found(self, row: Row) -> Bundle | None:
        for index, bundle in enumerate(self._bundles):
            # A given bundle is used even if PyTorch has other weights; a note in the row says so.
            allowed = index < self._given or self._has_given_weights(bundle.manifest)
            if allowed and _is_of(bundle.manifest, row):
                return bundle
        for bundle in self._built:
            # Built bundles with two graphs serve only the rows that measure the reuse of features.
            if _is_split(bundle.manifest) == _wants_split(row) and _is_of(bundle.manifest, row):
                return bundle
        return None

    def _has_given_weights(self, manifest: Manifest) -> bool:
        return self._given_sha256 in (None, manifest.weights.sha256)

    def _build(self, row: Row, weights: Weights) -> Bundle:
        height, width = (-(-side // PADDING) * PADDING for side in self._size)
        command = [
            "--network", row.network, "--weights", str(weights.path), "--precision", row.precision,
            "--size", f"{height}x{width}", "--max-batch", str(self._batch),
            *(["--split"] if _wants_split(row) else []),
        ]  # fmt: skip
        tools = json.dumps(versions(BUILD_PACKAGES))
        key = fingerprint(weights.sha256, tools, *command, sources=BUILD_SOURCES)
        path = self._cache / "bundles" / f"{row.network}-{row.precision}-{key}"
        if not _is_bundle_for(path, row):
            self._run_once("export.build_engine", *command, "-o", str(path))
        bundle = Bundle(path, read_manifest(path))
        if not _serves(bundle.manifest, row):
            raise BackendError(f"export.build_engine made no file for {row.backend} here.")
        self._built.append(bundle)
        return bundle

    def _run_once(self, module: str, *arguments: str) -> str:
        """Run a module once; the second time return or raise what the first run did."""
        key = (module, *arguments)
        if key not in self._runs:
            try:
                self._runs[key] = run_module(module, *arguments)
            except ModuleError as error:
                self._runs[key] = error
        outcome = self._runs[key]
        if isinstance(outcome, ModuleError):
            raise outcome
        return outcome


def _is_of(manifest: Manifest, row: Row) -> bool:
    wanted = (manifest.network, manifest.precision) == (row.network, row.precision)
    return wanted and _serves(manifest, row)


def _is_split(manifest: Manifest) -> bool:
    return FEATURES in manifest.files


def _wants_split(row: Row) -> bool:
    return row.method.files == (FEATURES,)


def _serves(manifest: Manifest, row: Row) -> bool:
    return any(name in manifest.files for name in row.method.files)


def _is_bundle_for(path: Path, row: Row) -> bool:
    return (path / "manifest.json").exists() and _serves(read_manifest(path), row)
