"""How the CUDA library would launch the forward pass: arithmetic alone, so no GPU is needed.

What a block covers is written here a second time, from the description at the head of each kernel.
"""

import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import library

FLOWNETC = {"max_displacement": 20, "stride_2": 2}


@pytest.fixture(scope="module", autouse=True)
def _cuda_library() -> None:
    if library.load("cuda") is None:
        pytest.skip(f"no CUDA library in {library.directory()}: run `make kernels` where nvcc is")


def launch(
    shape: tuple[int, int, int, int],
    *,
    max_displacement: int,
    stride_2: int,
    dtype: str = "float32",
    variant: str = "auto",
    capability: int = 8,
    multiprocessors: int = 108,
) -> library.Launch:
    arguments = library.arguments(
        shape, max_displacement=max_displacement, stride_2=stride_2, dtype=dtype, variant=variant
    )
    return library.launch(arguments, capability=capability, multiprocessors=multiprocessors)


def test_flownetc_in_half_precision() -> None:
    # 24 pairs of rows, each against 22 rows of f2. On 108 multiprocessors 216 blocks are wanted:
    # 216 / 24 + 1 = 10 a pair, so 3 rows each, and 8 blocks suffice for 22.
    assert launch((1, 256, 48, 64), dtype="float16", **FLOWNETC) == library.Launch(
        "flow_correlation_tensor_fp16_s2_t5", (1, 24 * 8, 1), 256, 0, (256, 48, 64, 20, 3)
    )


def test_flownetc_in_single_precision() -> None:
    # 16 quads of 4 pixels by 3 groups of 8 displacements. A channel: 64 columns of f1 and, of each
    # residue, 32 + 24 + 4 of f2; 4 * (64 + 120) = 736 bytes, times 16 channels.
    assert launch((1, 256, 48, 64), **FLOWNETC) == library.Launch(
        "flow_correlation_plain_fp32", (1, 48, 21), 48, 736 * 16, (256, 48, 64, 20, 2, 16)
    )


@pytest.mark.parametrize(
    ("change", "kernel"),
    [
        ({"dtype": "bfloat16"}, "tensor_bf16_s2_t5"),
        ({"capability": 7}, "plain_fp16"),
        ({"variant": "cuda-plain"}, "plain_fp16"),
        ({"variant": "cuda-classic"}, "classic_fp16"),
        ({"max_displacement": 4, "stride_2": 1}, "tensor_fp16_s1_t4"),
        ({"max_displacement": 20, "stride_2": 1}, "tensor_fp16_s1_t8"),
        ({"max_displacement": 21, "stride_2": 3}, "plain_fp16"),
        ({"shape": (1, 257, 48, 64)}, "plain_fp16"),
    ],
    ids=str,
)
def test_the_kernel_that_is_chosen(change: dict[str, Any], kernel: str) -> None:
    call = {"shape": (1, 256, 48, 64), "dtype": "float16", **FLOWNETC, **change}
    assert launch(**call).kernel == f"flow_correlation_{kernel}"


@st.composite
def calls(draw: st.DrawFn) -> dict[str, Any]:
    stride_2 = draw(st.integers(1, 3))
    return {
        "shape": tuple(draw(st.integers(1, most)) for most in (3, 300, 70, 200)),
        "max_displacement": stride_2 * draw(st.integers(0, 24 // stride_2)),
        "stride_2": stride_2,
        "dtype": draw(st.sampled_from(sorted(library.DTYPES))),
        "capability": draw(st.integers(7, 12)),
        "multiprocessors": draw(st.integers(1, 200)),
    }


@given(call=calls())
@settings(max_examples=100, deadline=None)
def test_every_pixel_and_row_is_covered_once(call: dict[str, Any]) -> None:
    found = launch(**call)
    batch, channels, height, width = call["shape"]
    stride = call["stride_2"]
    count = 2 * (call["max_displacement"] // stride) + 1
    assert found.scalars[:4] == (channels, height, width, call["max_displacement"])
    assert found.threads <= 1024
    assert found.shared_bytes <= 48 * 1024

    tensor = "_tensor_" in found.kernel
    columns = 64 if tensor else 4 * stride * max(1, 16 // stride)
    assert (found.grid[0] - 1) * columns < width <= found.grid[0] * columns
    if tensor:
        assert found.grid[2] == batch
        written = rows_of_tensor_kernel(found.grid[1], found.scalars[4], stride, count, height)
        assert written == Counter((y, i) for y in range(height) for i in range(count))
    else:
        assert found.grid[1:] == (height, batch * count)
        assert found.scalars[4] == stride
        groups, rest = divmod(found.threads, columns // 4)
        assert rest == 0
        assert 8 * (groups - 1) < count <= 8 * groups


def rows_of_tensor_kernel(
    blocks: int, steps: int, stride: int, count: int, height: int
) -> Counter[tuple[int, int]]:
    """How often each row of the image is written with each vertical displacement."""
    splits = -(-(count + 1) // steps)
    written: Counter[tuple[int, int]] = Counter()
    for block in range(blocks):
        pair, first = block // splits, block % splits * steps
        base = pair // stride * 2 * stride + pair % stride
        for step in range(first, min(first + steps, count + 1)):
            # Row `step` of f2 serves the pair's first row one displacement later than its second.
            for y, i in ((base, step), (base + stride, step - 1)):
                if y < height and 0 <= i < count:
                    written[y, i] += 1
    return written


def test_multiprocessors_change_the_grid_and_the_rows_of_a_block_together() -> None:
    # So both are right on any GPU, whichever they were chosen for.
    few, many = (
        launch((1, 256, 48, 64), dtype="float16", multiprocessors=n, **FLOWNETC) for n in (1, 1000)
    )
    assert (few.grid, few.scalars[4]) == ((1, 24, 1), 22)
    assert (many.grid, many.scalars[4]) == ((1, 24 * 22, 1), 1)


@pytest.mark.parametrize(
    ("shape", "change", "text"),
    [
        ((1, 0, 4, 4), {}, "a dimension is below 1"),
        ((1, 4, 4, 4), {"max_displacement": 3}, "multiple of stride_2"),
        ((1, 4, 4, 4), {"max_displacement": 4098}, "too large"),
        ((1, 4, 4, 4), {"max_displacement": 4000}, "too large"),
        ((1, 4, 4, 4), {"max_displacement": 0, "stride_2": 2**29}, "too large"),
        ((70000, 4, 4, 4), {"variant": "cuda-plain"}, "too large"),
        ((2**31 - 1, 1, 1, 1), {"max_displacement": 2}, "too large"),
    ],
    ids=str,
)
def test_refuses_by_name(
    shape: tuple[int, int, int, int], change: dict[str, Any], text: str
) -> None:
    with pytest.raises(library.KernelError, match=text):
        launch(shape, **{**FLOWNETC, **change})


@pytest.mark.parametrize(
    "change",
    [{"dtype": "float32"}, {"capability": 7}, {"stride_2": 4}, {"variant": "cpu-avx2"}],
    ids=str,
)
def test_a_named_variant_is_never_replaced(change: dict[str, Any]) -> None:
    call = {"dtype": "float16", "variant": "cuda-tensor-cores", **FLOWNETC, **change}
    with pytest.raises(library.VariantError, match="do not allow the variant"):
        launch((1, 64, 12, 16), **call)


def test_the_device_or_why_there_is_none() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        assert library.cuda_device() == (properties.major, properties.multi_processor_count)
    else:
        with pytest.raises(library.KernelError, match=r"correlation on cuda: .+ \(status 1\d\d\d"):
            library.cuda_device()


@pytest.mark.parametrize("variant", ["cuda-plain", "cuda-classic", "auto"])
@pytest.mark.parametrize("dtype", sorted(library.DTYPES))
def test_the_entry_point_takes_these_arguments(dtype: str, variant: str) -> None:
    path = library.directory() / "flow_correlation.ptx"
    if not path.is_file():
        pytest.skip(f"no PTX in {path.parent}: run `make kernels` where nvcc is")
    found = launch((1, 256, 48, 64), dtype=dtype, variant=variant, **FLOWNETC)
    entry = re.search(rf"\.entry {found.kernel}\((.*?)\)", path.read_text(), re.DOTALL)
    assert entry, found.kernel
    kinds = re.findall(r"\.param \.(\w+)", entry[1])
    assert kinds == ["u64", "u64", *["u32"] * len(found.scalars), "u64"]
