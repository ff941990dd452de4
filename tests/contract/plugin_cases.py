"""The correlation as an ahead-of-time plugin of TensorRT; run by test_tensorrt.py."""

import logging
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from kernels import library
from kernels.arguments import CorrelationError
from kernels.tensorrt_plugin import aot
from tests.contract.plugin_double import FLOWNETC, creators, gpu, new_plugin, plugin_calls, trtp

__all__ = ["creators", "gpu", "new_plugin", "plugin_calls", "trtp"]


def test_registers_once(trtp, creators):
    aot.register()
    assert list(creators) == [("correlation", "1", "flow")]
    assert trtp.op.flow.correlation.input_attrs == {"max_displacement": int, "stride_2": int}


def test_no_tensorrt(monkeypatch, creators):
    monkeypatch.setitem(sys.modules, "tensorrt.plugin", None)
    with pytest.raises(library.KernelError, match=r"no ahead-of-time plugins.*tensorrt, 10\.9 or"):
        aot.register()


def test_registration_fails_without_the_ptx(trtp, creators, monkeypatch, tmp_path):
    monkeypatch.delattr(trtp.op, "flow")
    monkeypatch.setattr(library, "directory", lambda: tmp_path)
    with pytest.raises(
        library.KernelError, match=r"no flow_correlation\.ptx .*`make kernels` where"
    ):
        aot.register()


def test_the_bindings_refuse_other_signatures(trtp, creators):
    # Shows that the registration above checks the signatures.
    with pytest.raises(ValueError, match="does not match the expected input arg schema"):

        @trtp.aot_impl("flow::correlation")
        def scalars_reversed(f1, f2, stride_2, max_displacement, outputs, tactic):
            pass

    with pytest.raises(ValueError, match=r"Expected 'tensorrt\.plugin\.KernelLaunchParams'"):

        @trtp.aot_impl("flow::correlation")
        def no_grid(
            f1, f2, max_displacement, stride_2, outputs, tactic
        ) -> tuple[str, str, int, trtp.SymIntExprs]:
            pass

    with pytest.raises(ValueError, match="not consistent with the expected input arg schema"):

        @trtp.autotune("flow::correlation")
        def no_outputs(f1, f2, max_displacement, stride_2):
            pass

    with pytest.raises(ValueError, match="type annotation different from the one specified"):

        @trtp.autotune("flow::correlation")
        def float_stride(f1, f2, max_displacement: int, stride_2: float, outputs):
            pass


@pytest.mark.parametrize("dtype", ["HALF", "FLOAT"])
def test_output(plugin_calls, dtype):
    shape, attributes = FLOWNETC
    assert plugin_calls(dtype, **attributes).output_shape(shape, shape) == [1, 441, 48, 64]


def test_all_tensors_have_one_type_and_are_linear(plugin_calls, bindings):
    shape, attributes = FLOWNETC
    made = plugin_calls(**attributes)
    out = tuple(made.output_shape(shape, shape))
    found = made.combinations([made.tensor(one) for one in (shape, shape, out)])
    types, linear = bindings.DataType, bindings.TensorFormat.LINEAR
    assert found == [(types.FLOAT, linear)] * 3 + [(types.HALF, linear)] * 3


# The numbers are computed in tests/kernels/test_launch.py.
@pytest.mark.parametrize(
    ("dtype", "kernel", "numbers", "scalars"),
    [
        ("HALF", "tensor_fp16_s2_t5", [1, 192, 1, 256, 1, 1, 0], [256, 48, 64, 20, 3]),
        ("FLOAT", "plain_fp32", [1, 48, 21, 48, 1, 1, 11776], [256, 48, 64, 20, 2, 16]),
    ],
)
def test_kernel_of_flownetc(plugin_calls, trtp, dtype, kernel, numbers, scalars):
    shape, attributes = FLOWNETC
    found = plugin_calls(dtype, **attributes).launch(shape)
    assert found[0] == numbers
    assert found[1] == [(trtp.SymInt32, value) for value in scalars]
    assert found[2] == f"flow_correlation_{kernel}"
    (entry,) = re.findall(r"\.visible \.entry (\w+)\((.*?)\)", found[3], re.DOTALL)
    assert entry[0] == found[2]
    pointers_and_scalars = ["u64", "u64", *["u32"] * len(scalars), "u64"]
    assert re.findall(r"\.param \.(\w+)", entry[1]) == pointers_and_scalars


@pytest.mark.parametrize(
    ("dtype", "kernel"),
    [("HALF", "tensor_##name##_s##stride##_t##tiles"), ("FLOAT", "plain_##name")],
)
def test_scalars_are_in_the_order_of_the_source(plugin_calls, dtype, kernel):
    # PTX contains only types; the names are in its C++ source.
    source = Path(library.__file__).with_name("correlation.cu").read_text()
    signature = source.partition(f"flow_correlation_{kernel}(")[2].partition(")")[0]
    names = re.findall(r"int32_t (\w+)", signature)
    shape, attributes = FLOWNETC
    values = {"channels": 256, "height": 48, "width": 64, "chunk": 16, "steps": 3, **attributes}
    scalars = plugin_calls(dtype, **attributes).launch(shape)[1]
    assert [value for _, value in scalars] == [values[name] for name in names]


def test_the_grid_depends_on_the_gpu(plugin_calls, gpu):
    shape, attributes = FLOWNETC
    gpu(capability=9, multiprocessors=132)
    numbers, scalars, _, _ = plugin_calls(**attributes).launch(shape)
    # The target is 264 // 24 + 1 = 12 blocks per pair of rows; with 2 of 22 rows of f2 each, 11.
    assert (numbers[1], scalars[4][1]) == (24 * 11, 2)


def test_without_a_gpu_the_grid_is_for_the_default_with_a_warning(
    plugin_calls, monkeypatch, caplog
):
    def no_gpu() -> Any:
        raise library.KernelError("correlation on cuda: no CUDA-capable device (status 1100)")

    monkeypatch.setattr(library, "cuda_device", no_gpu)
    shape, attributes = FLOWNETC
    with caplog.at_level(logging.WARNING, "kernels"):
        numbers, _, _, _ = plugin_calls(**attributes).launch(shape)
    assert numbers[1] == 192
    assert "grid is made for 108 multiprocessors: correlation on cuda: no CUDA" in caplog.text


def test_a_gpu_older_than_the_ptx(plugin_calls, gpu):
    shape, attributes = FLOWNETC
    gpu(capability=7)
    with pytest.raises(library.KernelError, match=r"compute capability 7\.x; expected 8\.0 or new"):
        plugin_calls(**attributes).launch(shape)


@pytest.mark.parametrize(
    ("shapes", "attributes", "text"),
    [
        (
            ((None, 2, 3, 4), (None, 2, 3, 4)),
            {},
            r"f1 has dynamic sizes, \(\?, 2, 3, 4\); expected",
        ),
        (
            ((1, 2, 3, 4), (1, 2, 3, None)),
            {},
            r"f2 has dynamic sizes, \(1, 2, 3, \?\); expected fixed",
        ),
        (((1, 2, 3, 4), (1, 2, 3, 5)), {}, "the width differs: f1 has 4, f2 has 5"),
        (((1, 2, 3), (1, 2, 3)), {}, "f1 has rank 3"),
        (((1, 2, 3, 4),) * 2, {"max_displacement": 3}, "not a multiple of stride_2"),
        (((1, 2, 3, 4),) * 2, {"stride_2": 0}, "expected max_displacement >= 0 and stride_2 >= 1"),
    ],
)
def test_shapes_or_attributes_that_do_not_fit(plugin_calls, shapes, attributes, text):
    with pytest.raises(CorrelationError, match=text):
        plugin_calls(**{**FLOWNETC[1], **attributes}).output_shape(*shapes)


def test_other_types(plugin_calls, bindings):
    with pytest.raises(CorrelationError, match="f1 is BF16 and f2 is BF16; expected FLOAT or HALF"):
        plugin_calls("BF16", **FLOWNETC[1]).output_shape((1, 2, 3, 4), (1, 2, 3, 4))
    half, single = bindings.DataType.HALF, bindings.DataType.FLOAT
    with pytest.raises(CorrelationError, match="f1 is HALF and f2 is FLOAT"):
        plugin_calls(**FLOWNETC[1]).plugin.get_output_data_types([half, single], [4, 4])


def test_a_shape_that_the_kernels_refuse(plugin_calls):
    with pytest.raises(library.KernelError, match="too large"):
        plugin_calls("FLOAT", **FLOWNETC[1]).launch((4000, 1, 4, 4))
