"""The kernel computes what numpy does, numpy solves its equations, and both reduce errors."""

import ctypes
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import engine
from engine import refinement
from engine.errors import BackendError
from engine.refinement import kernel, plain
from engine.system.cpu import cpu_flags
from tests.support.c_library import run

ROOT = Path(engine.__file__).parents[1]
NEEDS_KERNEL = pytest.mark.skipif(bool(refinement.fault()), reason=refinement.fault())


def pair_and_flow(height, width, seed=0, motion=3.0):
    """Return smooth images, so that the equations are well conditioned, and a smooth flow."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    images = [cv2.GaussianBlur(image, (0, 0), 1) for image in images]
    flow = cv2.GaussianBlur(rng.normal(0, motion, (height, width, 2)), (0, 0), 2)
    return *images, flow.reshape(height, width, 2).astype(np.float32)


@NEEDS_KERNEL
@settings(max_examples=40)
@given(
    height=st.integers(8, 150),
    width=st.integers(8, 50),
    threads=st.integers(1, 5),
    motion=st.floats(0, 9),
    seed=st.integers(0, 9),
)
@example(height=1, width=1, threads=1, motion=1.0, seed=0)
@example(height=1, width=2, threads=1, motion=1.0, seed=0)
@example(height=2, width=1, threads=1, motion=1.0, seed=0)
@example(height=1, width=40, threads=1, motion=1.0, seed=0)
@example(height=40, width=1, threads=1, motion=1.0, seed=0)
@example(height=2, width=2, threads=1, motion=1.0, seed=0)
@example(height=3, width=80, threads=1, motion=1.0, seed=0)
@example(height=120, width=3, threads=3, motion=1.0, seed=0)
def test_the_kernel_computes_what_numpy_does(height, width, threads, motion, seed):
    first, second, flow = pair_and_flow(height, width, seed, motion)
    expected = plain.refined(first, second, flow)
    before = flow.copy()
    result = refinement.refined(first, second, flow, threads=threads)
    # Rounding is amplified where a pixel's match is ambiguous.
    close = np.abs(result - expected) <= 0.01 + 1e-3 * np.abs(expected)
    assert close.mean() >= 0.99
    assert np.median(np.abs(result - expected)) <= 1e-4 * (1 + np.abs(expected).max())
    np.testing.assert_array_equal(flow, before)


@NEEDS_KERNEL
@pytest.mark.parametrize("size", [(97, 131), (200, 64), (145, 300)])
def test_the_bits_do_not_depend_on_the_number_of_threads(size):
    case = pair_and_flow(*size)
    alone = refinement.refined(*case, threads=1)
    for threads in (2, 3, 7, 64):
        np.testing.assert_array_equal(refinement.refined(*case, threads=threads), alone)


KERNEL = ("refinement_c", "refinement", "patch_search", "phases", "variational", "workers")
# What each function is compiled for, by the flag of /proc/cpuinfo that a CPU needs for it. On a CPU
# with AVX-512 the installed kernel has that form.
FORMS = {"": "", "avx2": '__attribute__((target("avx2")))'}


@NEEDS_KERNEL
@pytest.mark.parametrize("flag", FORMS)
def test_the_bits_do_not_depend_on_the_instruction_set(
    flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each form alone, compared with the one that the installed kernel chooses here."""
    if flag and flag not in cpu_flags():
        pytest.skip(f"the CPU has no {flag}")
    case = pair_and_flow(97, 131, motion=6.0)
    expected = refinement.refined(*case, threads=2)
    library = tmp_path / "kernel.so"
    sources = [ROOT / f"kernels/{name}.cpp" for name in KERNEL]
    flags = ("-shared", "-fPIC", "-pthread", "-std=c++17", "-O3", "-ffp-contract=off", f"-I{ROOT}")
    run("c++", *flags, "-Wno-psabi", f"-DFLOW_CLONES={FORMS[flag]}", *sources, "-o", library)
    monkeypatch.setattr(kernel, "_LIBRARY", library)
    kernel._loaded.cache_clear()
    try:
        np.testing.assert_array_equal(refinement.refined(*case, threads=2), expected)
    finally:
        kernel._loaded.cache_clear()


IN_A_FORKED_CHILD = """
import os, signal
import numpy as np
from engine import refinement

rng = np.random.default_rng(0)
images = rng.integers(0, 256, (2, 97, 131, 3), np.uint8)
case = *images, rng.normal(0, 1, (97, 131, 2)).astype(np.float32)
expected = refinement.refined(*case, threads=3)
child = os.fork()
if child == 0:
    signal.alarm(30)
assert np.array_equal(refinement.refined(*case, threads=3), expected)
if child != 0:
    assert os.waitpid(child, 0)[1] == 0
"""


@NEEDS_KERNEL
def test_a_forked_child_starts_threads_of_its_own():
    """Both processes end, too: at the end of a thread its threads are joined."""
    subprocess.run([sys.executable, "-c", IN_A_FORKED_CHILD], cwd=ROOT, check=True, timeout=60)


def threads_of_this_process():
    return len(os.listdir("/proc/self/task"))


@NEEDS_KERNEL
@pytest.mark.skipif(sys.platform != "linux", reason="counts the threads of Linux")
def test_threads_end_with_the_one_that_called():
    case = pair_and_flow(97, 131)
    expected = refinement.refined(*case, threads=1)
    counts = []

    def refine_twice():
        before = threads_of_this_process()
        for _ in range(2):
            np.testing.assert_array_equal(refinement.refined(*case, threads=2), expected)
            counts.append(threads_of_this_process() - before)

    before = threads_of_this_process()
    caller = threading.Thread(target=refine_twice)
    caller.start()
    caller.join()
    assert counts == [1, 1]
    deadline = time.monotonic() + 10  # `join` returns before the thread has ended
    while threads_of_this_process() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threads_of_this_process() == before


def test_sweeps_approach_the_solution_of_the_equations(monkeypatch):
    """With many sweeps, that of numpy's dense solver in float64."""
    monkeypatch.setattr(plain, "SWEEPS", 3000)
    height, width = 7, 6
    rng = np.random.default_rng(1)
    one, two = (rng.uniform(0, 255, (height, width)).astype(np.float32) for _ in range(2))
    flow = rng.normal(0, 0.5, (2, height, width)).astype(np.float32)
    equations = {
        name: value.astype(float) for name, value in plain._equations(one, two, flow).items()
    }
    pixels = height * width
    matrix = np.zeros((2 * pixels, 2 * pixels))
    for y in range(height):
        for x in range(width):
            at = y * width + x
            for axis in (0, 1):
                own = axis * pixels + at
                matrix[own, own] = 1 / equations["scale"][axis, y, x]
                matrix[own, (1 - axis) * pixels + at] = equations["mixed"][y, x]
                for dy, dx, weights, wy, wx in (
                    (0, 1, "beside", y, x),
                    (0, -1, "beside", y, x - 1),
                    (1, 0, "below", y, x),
                    (-1, 0, "below", y - 1, x),
                ):
                    if 0 <= y + dy < height and 0 <= x + dx < width:
                        neighbour = axis * pixels + (y + dy) * width + x + dx
                        matrix[own, neighbour] = -equations[weights][wy, wx]
    solution = np.linalg.solve(matrix, equations["right"].ravel()).reshape(2, height, width)
    np.testing.assert_allclose(plain._round(one, two, flow), solution, atol=2e-3)


def test_the_equations_are_those_of_the_energy():
    """Their residual is half the gradient of the quadratic energy, by differences in float64."""
    rng = np.random.default_rng(2)
    one, two = (cv2.GaussianBlur(rng.uniform(0, 255, (9, 8)), (0, 0), 1) for _ in range(2))
    flow = rng.normal(0, 0.4, (2, 9, 8))
    found = plain._equations(one, two, flow)
    moved = plain._warped(two, flow)
    mean_y, mean_x = derivatives((one + moved) / 2)
    change_y, change_x = derivatives(moved - one)
    _, xx = derivatives(mean_x)
    yy, xy = derivatives(mean_y)
    squares = [xx**2 + xy**2 + 0.01, xy**2 + yy**2 + 0.01]
    weight = 1 / np.sqrt(change_x**2 / squares[0] + change_y**2 / squares[1] + 1e-6)

    def energy(moved_to):
        x, y = moved_to - flow
        data = (change_x + xx * x + xy * y) ** 2 / squares[0]
        data += (change_y + xy * x + yy * y) ** 2 / squares[1]
        total = (weight * data).sum() + 1e-6 * ((moved_to - flow) ** 2).sum()
        for plane in moved_to:
            total += (found["beside"][:, :-1] * np.diff(plane, axis=1) ** 2).sum()
            total += (found["below"][:-1] * np.diff(plane, axis=0) ** 2).sum()
        return total

    point = flow + rng.normal(0, 0.3, flow.shape)
    for axis, y, x in ((0, 0, 0), (0, 4, 3), (1, 8, 7), (1, 5, 0), (0, 0, 5)):
        step = np.zeros_like(point)
        step[axis, y, x] = 1e-4
        gradient = (energy(point + step) - energy(point - step)) / 2e-4
        own = point[axis] / found["scale"][axis] + found["mixed"] * point[1 - axis]
        neighbours = plain._neighbours(point[axis], found["beside"], found["below"])
        residual = (own - neighbours - found["right"][axis])[y, x]
        assert 2 * residual == pytest.approx(gradient, rel=1e-4, abs=1e-4)


def derivatives(plane):
    """Along y and along x; half of the one-sided difference at the borders."""
    found = [np.array(part) for part in np.gradient(plane)]
    for axis, part in enumerate(found):
        rows = np.moveaxis(part, axis, 0)
        rows[0] /= 2
        rows[-1] /= 2
    return found


def test_motion_is_smoothed_less_across_edges():
    """Two halves of another brightness, one of which moves; the flow's border is 3 px wrong."""
    rng = np.random.default_rng(3)
    texture = cv2.GaussianBlur(rng.normal(0, 60, (64, 64)), (0, 0), 1.5)

    def error_of(contrast):
        image = np.clip(texture + 100 + contrast * (np.arange(64) >= 32), 0, 255)
        moved = image.copy()
        moved[:, :32] = np.roll(image, 1, axis=0)[:, :32]
        true = np.zeros((64, 64, 2), np.float32)
        true[:, :32, 1] = 1
        start = np.roll(true, 3, axis=1)
        start[:, :3] = true[:, :3]
        one, two = (
            np.repeat(values[..., None], 3, 2).astype(np.uint8) for values in (image, moved)
        )
        refined = refinement.refined(one, two, start, threads=1)
        return np.abs(refined - true)[8:-8, 24:40].mean()

    assert error_of(100) < error_of(0)


@pytest.mark.parametrize("motion", [1e4, 1e30])
def test_a_flow_that_leads_far_out_of_the_image_stays_finite(motion):
    first, second, flow = pair_and_flow(40, 50, motion=motion)
    assert np.isfinite(refinement.refined(first, second, flow, threads=2)).all()


def test_a_flow_that_is_not_a_number_stays_one():
    first, second, flow = pair_and_flow(40, 40)
    flow[20, 20] = np.nan
    assert np.isnan(refinement.refined(first, second, flow, threads=2)[20, 20]).any()


def test_without_its_library_numpy_takes_its_place(monkeypatch, tmp_path, tiny_bundle, caplog):
    case = pair_and_flow(32, 40)
    expected = plain.refined(*case)
    monkeypatch.setattr(kernel, "_LIBRARY", tmp_path / "_kernel.so")
    monkeypatch.setattr(kernel, "_loaded", kernel._loaded.__wrapped__)
    assert "was not compiled when it was installed" in refinement.fault()
    np.testing.assert_array_equal(refinement.refined(*case, threads=1), expected)
    with (
        caplog.at_level(logging.WARNING, logger="engine"),
        engine.load(tiny_bundle, threads=1, refine="variational"),
    ):
        assert "in numpy, which takes longer than the network: its kernel was not" in caplog.text
    Path(kernel._LIBRARY).write_bytes(b"of another machine")
    assert "its kernel does not load: " in refinement.fault()
    np.testing.assert_array_equal(refinement.refined(*case, threads=1), expected)


@pytest.mark.parametrize(
    ("status", "reason"), [(1, "out of memory"), (2, "no thread could be started")]
)
def test_what_the_library_reports(status, reason, monkeypatch):
    library = type("Library", (), {"flow_refine": staticmethod(lambda *_: status)})
    monkeypatch.setattr(kernel, "_loaded", lambda: (library, ""))
    with pytest.raises(BackendError, match=f"the refinement of a flow failed: {reason}"):
        refinement.refined(*pair_and_flow(8, 8), threads=1)


@NEEDS_KERNEL
def test_sizes_beyond_memory_are_reported():
    library, _ = kernel._loaded()
    nothing = ctypes.create_string_buffer(8)
    assert library.flow_refine(nothing, nothing, nothing, nothing, 1 << 27, 1 << 27, 1) == 1
