"""The correlation as an ahead-of-time plugin, asked as TensorRT asks; run by test_tensorrt.py.

The bindings' own classes create the plugin and call its functions. What is C++ behind them, sizes
as expressions and the plugin registry, is played by doubles.
"""

import importlib
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kernels import library
from kernels.arguments import CorrelationError
from kernels.tensorrt_plugin import aot
from tests.contract.real_bindings import double

FLOWNETC = ((1, 256, 48, 64), {"max_displacement": 20, "stride_2": 2})


@pytest.fixture(scope="session")
def trtp(bindings) -> Any:
    """The real ``tensorrt.plugin``, on the copied bindings."""
    bindings.__path__ = importlib.import_module("tensorrt_bindings").__path__
    return importlib.import_module("tensorrt.plugin")


@pytest.fixture(scope="session")
def creators(bindings, trtp) -> dict[tuple[str, str, str], Any]:
    """What is in TensorRT's plugin registry after the registration: name, version, namespace."""
    kept: dict[tuple[str, str, str], Any] = {}

    def register_creator(creator: Any, plugin_namespace: str = "") -> bool:
        kept[creator.name, creator.plugin_version, plugin_namespace] = creator
        return True

    registry = double(
        bindings.IPluginRegistry,
        register_creator=register_creator,
        get_creator=lambda type, version, plugin_namespace="": kept[
            type, version, plugin_namespace
        ],
    )
    bindings.get_plugin_registry = lambda: registry
    aot.register()
    return kept


@pytest.fixture
def gpu(monkeypatch) -> Callable[..., None]:
    """Tell which GPU is here: the A100 of the hand-worked numbers, unless told otherwise."""

    def set_gpu(capability: int = 8, multiprocessors: int = 108) -> None:
        monkeypatch.setattr(library, "cuda_device", lambda: (capability, multiprocessors))

    set_gpu()
    return set_gpu


@pytest.fixture
def new_plugin(bindings, trtp, creators, gpu, monkeypatch) -> Callable[..., Any]:
    """Create a plugin as the ONNX parser does: attributes arrive as int32 fields."""
    tensor = importlib.import_module("tensorrt.plugin._tensor")
    # These take C++ expressions alone: they would hold what the doubles cannot give.
    monkeypatch.setattr(bindings, "DimsExprs", lambda length: [None] * length)
    monkeypatch.setattr(
        tensor, "SymExprImpl", lambda expr: (type(expr), expr._expr.get_constant_value())
    )

    def create(**attributes: int) -> Any:
        creator = creators["correlation", "1", "flow"]
        assert [field.name for field in creator.field_names] == ["max_displacement", "stride_2"]
        int32 = bindings.PluginFieldType.INT32
        fields = [
            bindings.PluginField(name, np.array([value], np.int32), int32)
            for name, value in attributes.items()
        ]
        return creator.create_plugin(
            "correlation",
            "flow",
            bindings.PluginFieldCollection(fields),
            bindings.TensorRTPhase.BUILD,
            bindings.QuickPluginCreationRequest.UNKNOWN,
        )

    return create


class Asked:
    """One plugin, asked for its output and its kernel in TensorRT's order."""

    def __init__(self, trt: Any, plugin: Any, dtype: Any) -> None:
        self.trt, self.plugin, self.dtype = trt, plugin, dtype
        self.expressions = double(trt.IExprBuilder, constant=self.size)

    def size(self, value: int | None) -> Any:
        """A size as TensorRT hands it over: None for one that is not known before run time."""
        return double(
            self.trt.IDimensionExpr,
            is_constant=lambda: value is not None,
            get_constant_value=lambda: value,
        )

    def output_shape(self, shape1: Any, shape2: Any) -> list[int]:
        ranks = [len(shape1), len(shape2)]
        assert self.plugin.get_output_data_types([self.dtype] * 2, ranks) == [self.dtype]
        sizes = [[self.size(value) for value in shape] for shape in (shape1, shape2)]
        (out,) = self.plugin.get_output_shapes(sizes, [], self.expressions)
        return [expression.get_constant_value() for expression in out]

    def combinations(self, tensors: list[Any]) -> list[Any]:
        found = self.plugin.get_supported_format_combinations(tensors, 2)
        return [(desc.type, desc.format) for desc in found]

    def launch(self, shape: tuple[int, ...]) -> tuple[list[Any], list[Any], str, str]:
        """Grid, block and shared memory, scalars, kernel's name and PTX."""
        out = tuple(self.output_shape(shape, shape))
        tensors = [self.tensor(one) for one in (shape, shape, out)]
        self.combinations(tensors)
        self.plugin.configure_plugin(tensors[:2], tensors[2:])
        self.plugin.set_tactic(0)
        parameters, scalars = SimpleNamespace(), Scalars()
        self.plugin.get_launch_params(None, tensors, 2, parameters, scalars, self.expressions)
        descs = [tensor.desc for tensor in tensors]
        kernel, ptx = self.plugin.get_kernel(descs[:2], descs[2:])
        assert scalars.nbSymExprs == len(scalars)
        order = ("grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z", "shared_mem")
        numbers = [vars(parameters)[name][1] for name in order]
        return numbers, [scalars[i] for i in range(len(scalars))], kernel, ptx.decode()

    def tensor(self, shape: tuple[int, ...]) -> Any:
        desc = self.trt.PluginTensorDesc()
        desc.dims, desc.type = self.trt.Dims(shape), self.dtype
        desc.format = self.trt.TensorFormat.LINEAR
        tensor = self.trt.DynamicPluginTensorDesc()
        tensor.desc = desc
        return tensor


class Scalars(dict[int, Any]):
    """Where the bindings put the expressions of a kernel's scalars."""

    nbSymExprs = 0  # noqa: N815  the bindings' name


@pytest.fixture
def asked(bindings, new_plugin) -> Callable[..., Asked]:
    def make(dtype: str = "HALF", **attributes: int) -> Asked:
        return Asked(bindings, new_plugin(**attributes), getattr(bindings.DataType, dtype))

    return make


def test_registers_once(trtp, creators):
    aot.register()
    assert list(creators) == [("correlation", "1", "flow")]
    assert trtp.op.flow.correlation.input_attrs == {"max_displacement": int, "stride_2": int}


def test_no_tensorrt(monkeypatch, creators):
    monkeypatch.setitem(sys.modules, "tensorrt.plugin", None)
    with pytest.raises(library.KernelError, match=r"no ahead-of-time plugins.*tensorrt, 10\.9 or"):
        aot.register()


def test_missing_ptx_is_told_by_the_registration(trtp, creators, monkeypatch, tmp_path):
    monkeypatch.delattr(trtp.op, "flow")
    monkeypatch.setattr(library, "library_directory", lambda: tmp_path)
    with pytest.raises(
        library.KernelError, match=r"no flow_correlation\.ptx .*`make kernels` where"
    ):
        aot.register()


def test_the_bindings_refuse_other_signatures(trtp, creators):
    # So that the registration above means something.
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
def test_output(asked, dtype):
    shape, attributes = FLOWNETC
    assert asked(dtype, **attributes).output_shape(shape, shape) == [1, 441, 48, 64]


def test_types_move_together_and_tensors_are_linear(asked, bindings):
    shape, attributes = FLOWNETC
    made = asked(**attributes)
    out = tuple(made.output_shape(shape, shape))
    found = made.combinations([made.tensor(one) for one in (shape, shape, out)])
    types, linear = bindings.DataType, bindings.TensorFormat.LINEAR
    assert found == [(types.FLOAT, linear)] * 3 + [(types.HALF, linear)] * 3


# The numbers are worked out in tests/kernels/test_launch.py.
@pytest.mark.parametrize(
    ("dtype", "kernel", "numbers", "scalars"),
    [
        ("HALF", "tensor_fp16_s2_t5", [1, 192, 1, 256, 1, 1, 0], [256, 48, 64, 20, 3]),
        ("FLOAT", "plain_fp32", [1, 48, 21, 48, 1, 1, 11776], [256, 48, 64, 20, 2, 16]),
    ],
)
def test_kernel_of_flownetc(asked, trtp, dtype, kernel, numbers, scalars):
    shape, attributes = FLOWNETC
    found = asked(dtype, **attributes).launch(shape)
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
def test_scalars_are_in_the_order_of_the_source(asked, dtype, kernel):
    # PTX has types alone; the names are in the C++ that it was compiled from.
    source = Path(library.__file__).with_name("correlation.cu").read_text()
    signature = source.partition(f"flow_correlation_{kernel}(")[2].partition(")")[0]
    names = re.findall(r"int32_t (\w+)", signature)
    shape, attributes = FLOWNETC
    values = {"channels": 256, "height": 48, "width": 64, "chunk": 16, "steps": 3, **attributes}
    scalars = asked(dtype, **attributes).launch(shape)[1]
    assert [value for _, value in scalars] == [values[name] for name in names]


def test_the_grid_is_for_the_gpu_that_is_here(asked, gpu):
    shape, attributes = FLOWNETC
    gpu(capability=9, multiprocessors=132)
    numbers, scalars, _, _ = asked(**attributes).launch(shape)
    # 264 // 24 + 1 = 12 blocks a pair of rows are wanted: 2 of 22 rows of f2 each, so 11.
    assert (numbers[1], scalars[4][1]) == (24 * 11, 2)


def test_without_a_gpu_the_grid_is_for_the_default_and_says_so(asked, monkeypatch, caplog):
    def no_gpu() -> Any:
        raise library.KernelError("correlation on cuda: no CUDA-capable device (status 1100)")

    monkeypatch.setattr(library, "cuda_device", no_gpu)
    shape, attributes = FLOWNETC
    with caplog.at_level(logging.WARNING, "kernels"):
        numbers, _, _, _ = asked(**attributes).launch(shape)
    assert numbers[1] == 192
    assert "grid is made for 108 multiprocessors: correlation on cuda: no CUDA" in caplog.text


def test_a_gpu_older_than_the_ptx(asked, gpu):
    shape, attributes = FLOWNETC
    gpu(capability=7)
    with pytest.raises(library.KernelError, match=r"compute capability 7\.x; expected 8\.0 or new"):
        asked(**attributes).launch(shape)


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
def test_refuses_what_does_not_fit(asked, shapes, attributes, text):
    with pytest.raises(CorrelationError, match=text):
        asked(**{**FLOWNETC[1], **attributes}).output_shape(*shapes)


def test_refuses_other_types(asked, bindings):
    with pytest.raises(CorrelationError, match="f1 is BF16 and f2 is BF16; expected FLOAT or HALF"):
        asked("BF16", **FLOWNETC[1]).output_shape((1, 2, 3, 4), (1, 2, 3, 4))
    half, single = bindings.DataType.HALF, bindings.DataType.FLOAT
    with pytest.raises(CorrelationError, match="f1 is HALF and f2 is FLOAT"):
        asked(**FLOWNETC[1]).plugin.get_output_data_types([half, single], [4, 4])


def test_a_shape_that_the_kernels_refuse(asked):
    with pytest.raises(library.KernelError, match="too large"):
        asked("FLOAT", **FLOWNETC[1]).launch((4000, 1, 4, 4))
