"""An ONNX file in OpenVINO: compile it for a size, keep the compiled models by size."""

import threading
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from engine.backends.model_files import read_onnx
from engine.backends.onnx_graphs import Arrays
from engine.backends.openvino.int8 import for_this_cpu
from engine.backends.openvino.operators import with_operators
from engine.backends.openvino.precision import in_float32
from engine.backends.openvino.resizes import with_positive_resizes
from engine.backends.openvino.runtime import core_of, version_of
from engine.backends.openvino.slots import ExecutionSlots
from engine.backends.openvino.updates import written_out
from engine.bundle.manifest import BundleFile
from engine.errors import BackendError, EngineError, one_line
from engine.system.cache import writable_folder

# Sizes with a compiled model of their own at once: the images, and the small copy that
# `engine.decorators.global_motion` makes of them. Each compiled model holds the weights once more:
# of a large model (FlowNet2 has 650 MB) only the first size has its own.
_AT_ONCE = 2
_LARGE = 1 << 28
# Of a smaller file further sizes get one, this many in all, when they have been used so often that
# compiling takes no longer than their own model would have saved. Compiling takes about 0.6 ms an
# operation; of the default bundle, a model of its own saves 5 to 13 ms a flow.
_IN_ALL = 8
_SMALL = 1 << 25
_OFTEN, _OPERATIONS_A_USE = 32, 16
_REMEMBERED = 256  # sizes that uses are counted of

Shapes = Mapping[str, tuple[int, ...]]


class OpenVINOSession:
    """One ONNX file, compiled for each input size; a ``Model``.

    The first two sizes (of a file over 256 MB, the first) get a model compiled for exactly that
    size. All further sizes share one with dynamic shapes, so that a folder of images of many sizes
    does not compile for each. On a CPU with AVX2 it takes 1.3 times as long (the default bundle;
    with standard operators alone 1.9 times). Of a file below 32 MB, up to eight sizes get their
    own: those that have been used 32 times, of a network with more than 512 operations as many
    times as compiling takes it longer.

    Attributes:
        arithmetic: see ``Backend.arithmetic``.
    """

    def __init__(
        self,
        openvino: ModuleType,
        path: Path,
        *,
        threads: int,
        streams: int = 1,
        file: BundleFile | None = None,
        iterations: int | None = None,
    ) -> None:
        """Read the file, which may change afterwards; compile for the sizes as they come.

        Args:
            openvino: the module.
            path: the ONNX file.
            threads: number of CPU threads.
            streams: number of inferences computed at once.
            file: the file's entry in the manifest; None: do not check it.
            iterations: another number of updates of a recurrent network; None: the file's own.

        Raises:
            HardwareMissingError: the CPU would compute the int8 weights wrongly.
            BackendError: OpenVINO cannot read the file, or has no CPU device here.
            BundleError: the file has changed since it was checked.
        """
        onnx = read_onnx(path, file)
        try:
            core = core_of(openvino)
            core.get_property("CPU", "FULL_DEVICE_NAME")
            model = with_positive_resizes(written_out(core.read_model(onnx), iterations))
            model = in_float32(openvino, model)
            model, self.arithmetic = for_this_cpu(model)
            model, fault = with_operators(openvino, model)
            if fault:
                self.arithmetic += f"; without this package's operators, slower: {fault}"
        except EngineError:
            raise
        except Exception as error:  # a text of OpenVINO that is not UTF-8 is a UnicodeDecodeError
            raise _cannot_load(openvino, path, error) from error
        self._compile = partial(compile_model, openvino, path, model, threads, streams)
        self._compiling, self._counting = threading.Lock(), threading.Lock()
        self._at_once = _AT_ONCE if len(onnx) < _LARGE else 1
        self._in_all = _IN_ALL if len(onnx) < _SMALL else self._at_once
        self._often = max(_OFTEN, len(model.get_ops()) // _OPERATIONS_A_USE)
        self._uses: Counter[tuple[tuple[int, ...], ...]] = Counter()
        self._static: list[tuple[Shapes, ExecutionSlots]] = []  # only ever appended to
        self._dynamic: ExecutionSlots | None = None

    def __call__(self, inputs: Arrays) -> Arrays:
        """See ``engine.backends.onnx_graphs.Model``."""
        return self.slots_for(inputs)(inputs)

    def slots_for(self, inputs: Arrays) -> ExecutionSlots:
        """Return the model for inputs of these shapes; compile it if necessary.

        Raises:
            BackendError: OpenVINO cannot compile it.
        """
        shapes = {name: array.shape for name, array in inputs.items()}
        if (slots := self._find(shapes, use=1)) is not None:
            return slots
        with self._compiling:  # other threads go on with what is compiled
            if (slots := self._find(shapes, use=0)) is not None:
                return slots
            if self._gets_its_own(shapes, use=0):
                self._static.append((shapes, self._compile(shapes)))
                return self._static[-1][1]
            self._dynamic = self._compile(None)
            return self._dynamic

    def _find(self, shapes: Shapes, *, use: int) -> ExecutionSlots | None:
        """Return the model for a size, None if it has to be compiled; count ``use`` more uses."""
        own = next((slots for known, slots in self._static if known == shapes), None)
        if own is not None or self._gets_its_own(shapes, use=use):
            return own
        return self._dynamic

    def _gets_its_own(self, shapes: Shapes, *, use: int) -> bool:
        """Return whether a size is to have a model of its own after ``use`` more uses."""
        if len(self._static) < self._at_once:
            return True
        if len(self._static) >= self._in_all:
            return False
        with self._counting:
            if len(self._uses) >= _REMEMBERED:
                self._uses.clear()
            size = tuple(shapes.values())
            self._uses[size] += use
            return self._uses[size] > self._often


def compile_model(
    openvino: ModuleType,
    path: Path,
    model: Any,
    threads: int,
    streams: int,
    shapes: Shapes | None,
) -> ExecutionSlots:
    """Compile a model for the CPU.

    OpenVINO caches compiled models (``CACHE_DIR``).

    Args:
        openvino: the module.
        path: the ONNX file, for the error message.
        model: the ``openvino.Model``.
        threads: number of CPU threads.
        streams: number of inferences computed at once.
        shapes: shape of each input; None: dynamic.

    Raises:
        BackendError: OpenVINO cannot compile it.
    """
    settings: dict[str, Any] = {
        # THROUGHPUT is no faster with the same number of streams.
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": threads,
        # The default is bfloat16 where the CPU supports it; a graph marks fp16 explicitly.
        "INFERENCE_PRECISION_HINT": "f32",
        # On by default, which puts two processes of one thread each on the same core.
        "ENABLE_CPU_PINNING": False,
    }
    if (folder := writable_folder("openvino")) is not None:
        settings["CACHE_DIR"] = str(folder)
    model = model.clone()
    try:
        if shapes is not None:
            model.reshape({name: list(shape) for name, shape in shapes.items()})
        return ExecutionSlots(openvino, core_of(openvino).compile_model(model, "CPU", settings))
    except Exception as error:  # see OpenVINOSession
        raise _cannot_load(openvino, path, error) from error


def _cannot_load(openvino: ModuleType, path: Path, error: Exception) -> BackendError:
    return BackendError(f"openvino {version_of(openvino)} cannot load {path}: {one_line(error)}")
