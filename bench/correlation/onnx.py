"""The correlation in standard ONNX operators, in the engine's CPU runtimes."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench.correlation.problem import Problem
from engine.backends.onnxruntime.session import CpuSession
from engine.backends.openvino.runtime import import_openvino
from engine.backends.openvino.session import OpenVINOSession
from engine.backends.runtime_import import import_runtime


def in_onnxruntime(problem: Problem) -> Callable[[], Any]:
    """Return a call of the session of the engine's backend.

    Raises:
        BackendNotInstalledError: a package is missing.
        BackendError: a package cannot run the model.
    """
    ort = import_runtime("onnxruntime", "onnxruntime", install="pip install onnxruntime")
    with _model_file(problem) as path:
        model = CpuSession(ort, path, problem.threads)
    inputs = {"f1": problem.f1, "f2": problem.f2}
    return lambda: model(inputs)["correlation"]


def in_openvino(problem: Problem) -> Callable[[], Any]:
    """Return a request of the model, compiled as by the engine's backend.

    Raises:
        BackendNotInstalledError: a package is missing.
        BackendError: a package cannot run the model.
    """
    openvino = import_openvino()
    with _model_file(problem) as path:
        session = OpenVINOSession(openvino, path, threads=problem.threads)
    inputs = {"f1": problem.f1, "f2": problem.f2}
    request = session.slots_for(inputs).compiled.create_infer_request()
    # No copies, as inside a network.
    infer = partial(request.infer, inputs, share_inputs=True, share_outputs=True)
    return lambda: infer()["correlation"]


@contextmanager
def _model_file(problem: Problem) -> Iterator[Path]:
    """Write the operator to a temporary file, with sizes as dynamic as in a bundle."""
    for module in ("onnx", "onnx_ir"):
        import_runtime(module, "ONNX form", install="pip install 'flownet-engine[export]'")
    from kernels import onnx_ops

    shape = ("N", problem.setting.channels, "H", "W")
    model = onnx_ops.correlation_model(**problem.setting.parameters, shape=shape)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "correlation.onnx"
        path.write_bytes(model.SerializeToString())
        yield path
