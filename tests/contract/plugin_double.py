"""Fixtures that create the correlation plugin and call it in TensorRT's order.

The bindings' own classes create the plugin and call its functions. Doubles replace the C++ objects:
symbolic sizes and the plugin registry.
"""

import importlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kernels import library
from kernels.tensorrt_plugin import aot
from tests.contract.real_bindings import double

FLOWNETC = ((1, 256, 48, 64), {"max_displacement": 20, "stride_2": 2})


@pytest.fixture(scope="session")
def trtp(bindings) -> Any:
    """The real ``tensorrt.plugin``, over the copied bindings."""
    bindings.__path__ = importlib.import_module("tensorrt_bindings").__path__
    return importlib.import_module("tensorrt.plugin")


@pytest.fixture(scope="session")
def creators(bindings, trtp) -> dict[tuple[str, str, str], Any]:
    """The registered plugin creators by name, version and namespace."""
    registered: dict[tuple[str, str, str], Any] = {}

    def register_creator(creator: Any, plugin_namespace: str = "") -> bool:
        registered[creator.name, creator.plugin_version, plugin_namespace] = creator
        return True

    registry = double(
        bindings.IPluginRegistry,
        register_creator=register_creator,
        get_creator=lambda type, version, plugin_namespace="": registered[
            type, version, plugin_namespace
        ],
    )
    bindings.get_plugin_registry = lambda: registry
    aot.register()
    return registered


@pytest.fixture
def gpu(monkeypatch) -> Callable[..., None]:
    """Set the GPU; by default the A100 of the hand-computed numbers."""

    def set_gpu(capability: int = 8, multiprocessors: int = 108) -> None:
        monkeypatch.setattr(library, "cuda_device", lambda: (capability, multiprocessors))

    set_gpu()
    return set_gpu


@pytest.fixture
def new_plugin(bindings, trtp, creators, gpu, monkeypatch) -> Callable[..., Any]:
    """Create a plugin as the ONNX parser does, with attributes as int32 fields."""
    tensor = importlib.import_module("tensorrt.plugin._tensor")
    # The real classes only accept C++ expressions, which the doubles cannot provide.
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


class PluginCalls:
    """One plugin, plugin_calls for its output and its kernel in TensorRT's order."""

    def __init__(self, trt: Any, plugin: Any, dtype: Any) -> None:
        self.trt, self.plugin, self.dtype = trt, plugin, dtype
        self.expressions = double(trt.IExprBuilder, constant=self.size)

    def size(self, value: int | None) -> Any:
        """A size as TensorRT passes it; None: known at run time only."""
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
        """Return grid, block and shared memory; scalars; kernel name; PTX."""
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
    """The bindings store the expressions of a kernel's scalars here."""

    nbSymExprs = 0  # noqa: N815  the bindings' name


@pytest.fixture
def plugin_calls(bindings, new_plugin) -> Callable[..., PluginCalls]:
    def make(dtype: str = "HALF", **attributes: int) -> PluginCalls:
        return PluginCalls(bindings, new_plugin(**attributes), getattr(bindings.DataType, dtype))

    return make
