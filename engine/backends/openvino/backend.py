"""OpenVINO on the CPU.

Compiled models are cached (``engine.system.cache``): the next process imports them in less than
half the time.
"""

import json
import logging
import os
import sys
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from engine.backends.onnx_graphs import Arrays, GraphsBackend, open_graphs
from engine.backends.registry import available_threads, import_runtime, one_line, read_model
from engine.bundle.manifest import BundleFile, Manifest
from engine.errors import BackendError, HardwareMissingError
from engine.system.cache import cache_folder, cache_key, read_cached, write_cached
from engine.system.cpu import ONEDNN_LIMIT, cpu_flags, cpu_model, int8_fault

_TELEMETRY = "openvino_telemetry"
# Bytes of an ONNX file. To import what was compiled its weights are read, checked and copied: in
# all, 0.4 of the time to compile for the 5.5 MB of flownets_slim in int8, 0.7 for the 39 MB of
# flownets in int8, but 1.3 for its 77 MB in fp32.
_LARGEST_KEPT = 40 << 20

# Sizes with a model of their own: the image, and the small copy of `engine.global_motion`.
_SIZES = 2

_log = logging.getLogger("engine")


def version_of(openvino: ModuleType) -> str:
    """Return the release alone, without build number and branch."""
    return str(openvino.__version__).split("-")[0]


def import_openvino() -> ModuleType:
    """Import OpenVINO without its telemetry.

    ``import openvino`` reports itself to Google Analytics, unasked, unless the package
    ``openvino_telemetry`` cannot be imported (``openvino/tools/ovc/telemetry_utils.py``). What runs
    on a device is its owner's business alone, and the first flow came 12 to 28 % later for it.

    Raises:
        BackendError: It is not installed, or does not load.
    """
    hide = _TELEMETRY not in sys.modules
    if hide:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # an import of it fails
    try:
        return import_runtime("openvino", "openvino", install="pip install openvino")
    finally:
        if hide:
            sys.modules.pop(_TELEMETRY, None)


class OpenVINOBackend(GraphsBackend):
    """A bundle's ONNX compiled for the CPU."""

    name = "openvino"

    def __init__(
        self,
        bundle: Path,
        manifest: Manifest,
        *,
        device: int,
        threads: int | None,
        streams: int,
    ) -> None:
        """Read the bundle for ``threads`` CPU threads, which ``streams`` flows share equally.

        It is compiled with the first images. ``device`` has no meaning here.

        Raises:
            HardwareMissingError: the bundle is int8 and the CPU cannot compute int8 correctly.
            BackendError: OpenVINO is missing or cannot load the model.
        """
        if manifest.precision == "int8":
            _check_int8()
        openvino = import_openvino()
        self.runtime_version = version_of(openvino)
        count = threads or available_threads()

        def open_model(path: Path) -> SizedModel:
            file = manifest.files[path.name]
            return SizedModel(openvino, path, threads=count, streams=streams, file=file)

        self.graphs = open_graphs(bundle, manifest, self.name, open_model)


def _check_int8() -> None:
    if fault := int8_fault():
        raise HardwareMissingError(
            f"backend openvino cannot run an int8 bundle: {fault}. Use backend onnxruntime, which "
            "computes the same bundle in float, or build one with --precision fp32"
        )


Shapes = Mapping[str, tuple[int, ...]]
Settings = Mapping[str, Any]


class SizedModel:
    """One ONNX file in OpenVINO; a ``graphs.Model``.

    It is compiled when images come, for their size alone: 5 to 10 % faster than one for all sizes,
    which follows when a third size comes. So a video is computed as fast as can be, and a folder of
    pictures of many sizes is not compiled again for each.
    """

    def __init__(
        self,
        openvino: ModuleType,
        path: Path,
        *,
        threads: int,
        streams: int = 1,
        file: BundleFile | None = None,
    ) -> None:
        """Read it into memory, so that what is compiled later is this file, whatever becomes of it.

        OpenVINO looks at it now, unless the cache says that it has before. ``file`` is what the
        manifest says of it; None: nothing is kept in the cache.

        Raises:
            BackendError: OpenVINO cannot, or has no CPU device here.
            BundleError: it is not the file that the manifest speaks of.
        """
        onnx = read_model(path, file)
        self._compile = partial(
            CompiledModel, openvino, path, onnx, threads=threads, streams=streams, file=file
        )
        self._lock = threading.Lock()
        self._sized: list[tuple[Shapes, CompiledModel]] = []  # only ever appended to
        self._any: CompiledModel | None = None
        try:
            core = openvino.Core()
            core.get_property("CPU", "FULL_DEVICE_NAME")
            readable = file and cache_key("openvino-readable", openvino.__version__, file.sha256)
            if not readable or read_cached(readable) is None:
                core.read_model(onnx)
                if readable:
                    write_cached(readable, b"")
        except RuntimeError as error:
            raise _cannot_load(openvino, path, error) from error

    def __call__(self, inputs: Arrays) -> Arrays:
        """See ``graphs.Model``."""
        return self.compiled_for(inputs)(inputs)

    def compiled_for(self, inputs: Arrays) -> "CompiledModel":
        """Return what runs inputs of these shapes, compiled now if it has to be.

        Raises:
            BackendError: OpenVINO cannot compile it.
        """
        shapes = {name: array.shape for name, array in inputs.items()}
        # Without waiting for another size that is being compiled.
        if (compiled := self._known(shapes)) is not None:
            return compiled
        with self._lock:
            if (compiled := self._known(shapes)) is not None:
                return compiled
            if len(self._sized) < _SIZES:
                self._sized.append((shapes, self._compile(shapes=shapes)))
                return self._sized[-1][1]
            if self._any is None:
                self._any = self._compile()
            return self._any

    def _known(self, shapes: Shapes) -> "CompiledModel | None":
        return next((model for known, model in self._sized if known == shapes), None)


class CompiledModel:
    """One ONNX file, compiled; a ``graphs.Model``."""

    def __init__(
        self,
        openvino: ModuleType,
        path: Path,
        onnx: bytes,
        *,
        threads: int,
        streams: int = 1,
        shapes: Shapes | None = None,
        file: BundleFile | None = None,
    ) -> None:
        """Compile what was read from ``path``, for inputs of these shapes alone or of any.

        With ``file``, what the manifest says of it, take from the cache what was compiled before,
        or keep it there.

        Raises:
            BackendError: OpenVINO cannot.
        """
        settings = {
            # THROUGHPUT was measured to be no faster with the same number of streams.
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": threads,
            # The default is bfloat16 where the CPU has it. The graph says where fp16 is meant.
            "INFERENCE_PRECISION_HINT": "f32",
            # On by default, and then two processes with one thread each share one core.
            "ENABLE_CPU_PINNING": False,
        }
        key = _key(openvino, file, settings, shapes)
        try:
            core = openvino.Core()
            self.compiled = _imported(core, key, settings)
            if self.compiled is None:
                self.compiled = _compiled(core, onnx, settings, shapes)
                _keep(self.compiled, key)
        except RuntimeError as error:
            raise _cannot_load(openvino, path, error) from error
        self._tensor = openvino.Tensor
        outputs = self.compiled.outputs
        self._names = [output.any_name for output in outputs]
        # Shape and type of each output; empty where they depend on the inputs' shapes.
        self._sized = {
            output.any_name: (tuple(output.shape), output.element_type.to_dtype())
            for output in outputs
            if all(other.partial_shape.is_static for other in outputs)
        }
        # Idle requests. A request is one thread's at a time, so there are as many as threads that
        # ever ran at once. append and pop of a list are atomic.
        self._requests: list[Any] = []

    def __call__(self, inputs: Arrays) -> Arrays:
        """See ``graphs.Model``."""
        try:
            request = self._requests.pop()
        except IndexError:
            request = self.compiled.create_infer_request()
        try:
            return self._run(request, inputs)
        finally:
            # The package keeps what it shares until the next call: the caller's images.
            request._inputs_data = None
            self._requests.append(request)

    def _run(self, request: Any, inputs: Arrays) -> Arrays:
        """Read the inputs in place, and write outputs whose size is known where they belong."""
        if not self._sized:
            results = request.infer(inputs, share_inputs=True)  # copies them from the request's own
            return {name: results[name] for name in self._names}
        arrays = {name: np.empty(shape, dtype) for name, (shape, dtype) in self._sized.items()}
        # For each call anew: what was returned is the caller's, and is not written to again.
        for name, array in arrays.items():
            request.set_tensor(name, self._tensor(array, shared_memory=True))
        request.infer(inputs, share_inputs=True, share_outputs=True)
        return arrays


def _compiled(core: Any, onnx: bytes, settings: Settings, shapes: Shapes | None) -> Any:
    model = core.read_model(onnx)
    if shapes is not None:
        model.reshape({name: list(shape) for name, shape in shapes.items()})
    return core.compile_model(model, "CPU", settings)


def _key(
    openvino: ModuleType, file: BundleFile | None, settings: Settings, shapes: Shapes | None
) -> str | None:
    """Return the cache's key for all that decides what is compiled; None: do not keep it."""
    if file is None or file.bytes > _LARGEST_KEPT or cache_folder() is None:
        return None
    decided = json.dumps([settings, shapes], sort_keys=True)
    cpu = (os.environ.get(ONEDNN_LIMIT, ""), cpu_model(), *sorted(cpu_flags()))
    return cache_key("openvino", openvino.__version__, file.sha256, decided, *cpu)


def _imported(core: Any, key: str | None, settings: Settings) -> Any:
    """Return what was compiled before, or None."""
    exported = read_cached(key) if key else None
    if exported is None:
        return None
    try:
        return core.import_model(exported, "CPU", settings)
    except RuntimeError as error:
        _log.warning("compiling anew: OpenVINO refuses what it exported: %s", one_line(error))
        return None


def _keep(compiled: Any, key: str | None) -> None:
    # With its weights: what is exported without them (CACHE_MODE: OPTIMIZE_SIZE, 5 % of the bytes)
    # OpenVINO 2026.4 imports again only if the model was read from its own format, not from ONNX.
    if not key:
        return
    try:
        write_cached(key, compiled.export_model().getvalue())
    except RuntimeError as error:
        _log.warning("OpenVINO does not export what it compiled: %s", one_line(error))


def _cannot_load(openvino: ModuleType, path: Path, error: RuntimeError) -> BackendError:
    return BackendError(f"openvino {version_of(openvino)} cannot load {path}: {one_line(error)}")
