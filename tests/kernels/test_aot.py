"""The kernels by name, as a plan of TensorRT starts them; its own questions: tests/contract."""

import ctypes
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kernels import library
from kernels.tensorrt_plugin import aot
from tests.kernels.strategies import problem

KERNELS = ["flow_correlation_plain_fp32", "flow_correlation_tensor_fp16_s2_t5"]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ptx() -> Path:
    path = library.directory() / aot.PTX
    if not path.is_file():
        pytest.skip(f"no {aot.PTX} in {path.parent}: run `make kernels` where nvcc is")
    return path


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_ptx_of_one_kernel_is_a_whole_program(ptx: Path, kernel: str, tmp_path: Path) -> None:
    text = aot.kernel_ptx(kernel)
    assert re.findall(r"\.entry (\w+)\(", text) == [kernel]
    assert len(text) < ptx.stat().st_size / 4
    ptxas = shutil.which("ptxas")
    if ptxas is None:
        pytest.skip("no ptxas, which nvcc brings, to assemble it")
    (tmp_path / "kernel.ptx").write_text(text)
    command = [ptxas, "-arch=sm_80", "kernel.ptx", "-o", "kernel.cubin"]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert kernel.encode() in (tmp_path / "kernel.cubin").read_bytes()


def test_missing_ptx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOW_KERNELS", str(tmp_path))
    with pytest.raises(
        library.KernelError, match=rf"no {aot.PTX} in {tmp_path}.*`make kernels` where nvcc is"
    ):
        aot.kernel_ptx(KERNELS[0])


def test_ptx_of_another_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOW_KERNELS", str(tmp_path))
    (tmp_path / aot.PTX).write_text(".version 9.0\n.visible .entry old(\n)\n{\n\tret;\n}\n")
    with pytest.raises(library.KernelError, match="has no kernel flow_correlation_plain_fp32, so"):
        aot.kernel_ptx(KERNELS[0])


def test_no_tensorrt() -> None:
    # In a process of its own: imports without it, and says what is missing when asked for it.
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('tensorrt', 'torch', 'onnx')))\n"
        "from kernels import library\n"
        "from kernels.tensorrt_plugin import aot\n"
        "try: aot.register()\n"
        "except library.KernelError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert re.match(r"no ahead-of-time plugins here .*expected the package tensorrt", done.stdout)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_started_by_name_it_matches_the_twin(cuda_library: None, ptx: Path, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    capability, multiprocessors = library.cuda_device()
    if capability < aot.CAPABILITY:
        pytest.skip(f"compute capability {capability}.x; the PTX needs {aot.CAPABILITY}.0")
    p = problem((2, 70, 12, 72), 20, 2)
    f1, f2 = (torch.from_numpy(f).to("cuda", getattr(torch, dtype)) for f in (p.f1, p.f2))
    out = torch.full(p.grad.shape, torch.nan, dtype=f1.dtype, device="cuda")
    arguments = library.arguments(p.f1.shape, **p.parameters, dtype=dtype)
    launch = library.launch(arguments, capability=aot.CAPABILITY, multiprocessors=multiprocessors)
    start_by_name(launch, f1.data_ptr(), f2.data_ptr(), out.data_ptr())
    torch.cuda.synchronize()
    tolerance = {"float32": 1e-5, "float16": 2e-3}[dtype]
    np.testing.assert_allclose(out.double().cpu(), p.expected(), rtol=tolerance, atol=tolerance)


def start_by_name(launch: library.Launch, f1: int, f2: int, out: int) -> None:
    """Start the kernel from its PTX with the driver, in the context and on the stream of torch."""
    driver = ctypes.CDLL("libcuda.so.1")
    module, function = ctypes.c_void_p(), ctypes.c_void_p()
    text = aot.kernel_ptx(launch.kernel).encode()
    assert driver.cuModuleLoadData(ctypes.byref(module), text) == 0
    name = launch.kernel.encode()
    assert driver.cuModuleGetFunction(ctypes.byref(function), module, name) == 0
    values = [
        ctypes.c_void_p(f1),
        ctypes.c_void_p(f2),
        *[ctypes.c_int32(value) for value in launch.scalars],
        ctypes.c_void_p(out),
    ]
    parameters = (ctypes.c_void_p * len(values))(*[ctypes.addressof(value) for value in values])
    sizes = (*launch.grid, launch.threads, 1, 1, launch.shared_bytes)
    assert driver.cuLaunchKernel(function, *sizes, None, parameters, None) == 0
