"""The compiled CPU library, every variant that runs here, against the twin."""

import _ctypes
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from kernels import library
from tests.kernels.strategies import Problem, problem, problems

CPU_VARIANTS = ("cpu-baseline", "cpu-avx2", "cpu-avx512")


def arguments(p: Problem, variant: str, threads: int = 1) -> library.Arguments:
    return library.arguments(p.f1.shape, **p.parameters, variant=variant, threads=threads)


def forward(p: Problem, variant: str, threads: int = 1) -> NDArray[np.float32]:
    out = np.full_like(p.grad, np.nan)
    pointers = (p.f1.ctypes.data, p.f2.ctypes.data, out.ctypes.data)
    library.forward("cpu", arguments(p, variant, threads), *pointers)
    return out


def gradients(p: Problem, variant: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    grads = np.full_like(p.f1, np.nan), np.full_like(p.f2, np.nan)
    pointers = tuple(array.ctypes.data for array in (p.grad, p.f1, p.f2, *grads))
    library.backward("cpu", arguments(p, variant), pointers)
    return grads


@pytest.fixture(params=CPU_VARIANTS, scope="module")
def variant(request: pytest.FixtureRequest, cpu_library: None) -> str:
    try:
        forward(problem((1, 1, 1, 1), 1, 1), request.param)
    except library.VariantError as error:
        pytest.skip(f"{request.param}: {error}")
    return str(request.param)


@given(p=problems())
@settings(max_examples=25, deadline=None)
def test_forward_matches_the_twin(variant: str, p: Problem) -> None:
    np.testing.assert_allclose(forward(p, variant), p.expected(), atol=1e-5)


@given(p=problems())
@settings(max_examples=15, deadline=None)
def test_gradients_match_the_twin(variant: str, p: Problem) -> None:
    for found, expected in zip(gradients(p, variant), p.expected_gradients(), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_any_number_of_threads_gives_the_same(variant: str) -> None:
    p = problem((2, 40, 23, 33), 20, 2)
    one = forward(p, variant)
    for threads in (2, 5):
        np.testing.assert_array_equal(forward(p, variant, threads), one)


def test_other_strides(variant: str) -> None:
    p = problem((1, 5, 9, 31), 6, 3)
    np.testing.assert_allclose(forward(p, variant), p.expected(), atol=1e-5)


def test_not_a_number_stays_where_it_is_seen(variant: str) -> None:
    # Zero padding must not turn an infinity elsewhere into a NaN here.
    p = problem((1, 3, 5, 40), 4, 2)
    p.f2[0, 0, 2, 20] = np.inf
    found, expected = forward(p, variant), p.expected()
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"channels": 0}, "a dimension is below 1"),
        ({"max_displacement": 3}, "multiple of stride_2"),
        ({"stride_2": 0}, "multiple of stride_2"),
        ({"dtype": 1}, "expected float32"),
        ({"max_displacement": 10000}, "too large"),
        ({"max_displacement": 0, "stride_2": 2**31 - 1}, "too large"),
    ],
)
def test_refuses_by_name(cpu_library: None, change: dict[str, int], text: str) -> None:
    call = arguments(problem((1, 2, 3, 4), 4, 2), "auto")
    for name, value in change.items():
        setattr(call, name, value)
    with pytest.raises(library.KernelError, match=text):
        library.forward("cpu", call, 0, 0, 0)


def test_a_named_variant_is_never_replaced(cpu_library: None) -> None:
    with pytest.raises(library.VariantError, match="do not allow the variant"):
        forward(problem((1, 2, 3, 4), 4, 2), "cuda-plain")


@pytest.mark.parametrize("content", [b"", b"\x7fELF", None])
def test_what_is_no_such_library_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    """A truncated file, and another library."""
    file = tmp_path / "libflow_correlation_cpu.so"
    if content is None:
        file.symlink_to(_ctypes.__file__)
    else:
        file.write_bytes(content)
    monkeypatch.setenv("FLOW_KERNELS", str(tmp_path))
    library.load.cache_clear()
    try:
        with pytest.raises(library.KernelError, match=r"cpu\.so does not load: .*: make kernels$"):
            forward(problem((1, 2, 3, 4), 4, 2), "auto")
    finally:
        library.load.cache_clear()


def test_a_missing_library_says_how_to_build_it(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOW_KERNELS", str(tmp_path))
    library.load.cache_clear()
    try:
        with pytest.raises(library.KernelError, match=r"run `make kernels`$"):
            forward(problem((1, 2, 3, 4), 4, 2), "auto")
        with pytest.raises(library.KernelError, match=r"run `make kernels` where nvcc is$"):
            library.cuda_device()
    finally:
        library.load.cache_clear()
