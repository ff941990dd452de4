"""The compiled libraries, as far as this machine has them."""

import pytest

from kernels import library


@pytest.fixture(scope="session")
def cpu_library() -> None:
    """Skip where the CPU library was not built."""
    if library.load("cpu") is None:
        pytest.skip(f"no CPU library in {library.directory()}: run `make kernels`")


@pytest.fixture(scope="session")
def cuda_library() -> None:
    """Skip where the CUDA library or a GPU is missing."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no GPU that torch can use")
    if library.load("cuda") is None:
        pytest.skip(f"no CUDA library in {library.directory()}: run `make kernels`")
