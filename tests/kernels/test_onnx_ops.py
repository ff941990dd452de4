"""The correlation in standard ONNX operators: in the runtimes, from torch, in TensorRT for RTX."""

import warnings
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from engine.backends.openvino.runtime import core_of
from kernels.arguments import CorrelationError
from tests.kernels.strategies import Problem, problem, problems

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnx_ir")
torch = pytest.importorskip("torch")

from kernels import onnx_ops  # noqa: E402
from kernels.reference import correlation  # noqa: E402


@cache
def onnxruntime_session(max_displacement: int, stride_2: int) -> object:
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    model = onnx_ops.correlation_model(max_displacement=max_displacement, stride_2=stride_2)
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


@cache
def openvino_model(max_displacement: int, stride_2: int) -> object:
    openvino = pytest.importorskip("openvino")
    model = onnx_ops.correlation_model(max_displacement=max_displacement, stride_2=stride_2)
    core = core_of(openvino)
    return core.compile_model(
        core.read_model(model.SerializeToString()),
        "CPU",
        {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"},
    )


def in_onnxruntime(p: Problem) -> NDArray[np.float32]:
    session = onnxruntime_session(p.max_displacement, p.stride_2)
    return session.run(None, {"f1": p.f1, "f2": p.f2})[0]  # type: ignore[attr-defined]


def in_openvino(p: Problem) -> NDArray[np.float32]:
    return openvino_model(p.max_displacement, p.stride_2)([p.f1, p.f2])[0]  # type: ignore[operator]


@given(p=problems())
@settings(max_examples=30, deadline=None)
def test_onnxruntime_matches_the_twin(p: Problem) -> None:
    np.testing.assert_allclose(in_onnxruntime(p), p.expected(), atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "max_displacement", "stride_2"),
    [
        ((1, 20, 13, 37), 20, 2),
        ((3, 7, 1, 1), 20, 2),
        ((2, 9, 17, 8), 4, 1),
        ((1, 5, 9, 11), 6, 3),
    ],
)
def test_openvino_matches_the_twin(
    shape: tuple[int, int, int, int], max_displacement: int, stride_2: int
) -> None:
    p = problem(shape, max_displacement, stride_2)
    np.testing.assert_allclose(in_openvino(p), p.expected(), atol=1e-5)


def test_half_precision_is_summed_in_float32() -> None:
    ort = pytest.importorskip("onnxruntime")
    model = onnx_ops.correlation_model(
        max_displacement=4, stride_2=2, dtype=onnx.TensorProto.FLOAT16
    )
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    # 256 products of 64 * 64 overflow float16, their mean does not.
    f = np.full((1, 256, 3, 5), 64, np.float16)
    out = session.run(None, {"f1": f, "f2": f})[0]
    assert out.dtype == np.float16
    np.testing.assert_array_equal(out, correlation(f, f, max_displacement=4, stride_2=2))


def test_a_model_is_refused_by_name() -> None:
    with pytest.raises(CorrelationError, match="not a multiple of stride_2"):
        onnx_ops.correlation_model(max_displacement=3, stride_2=2)


class Match(torch.nn.Module):
    """What a network does with the operator."""

    def forward(self, f1: torch.Tensor, f2: torch.Tensor) -> torch.Tensor:
        out = torch.ops.flow.correlation(torch.relu(f1), f2, 6, 2)
        return torch.nn.functional.leaky_relu(out, 0.1)


def export(table: dict[Any, Any], inputs: tuple[torch.Tensor, ...], **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            Match(),
            inputs,
            dynamo=True,
            opset_version=18,
            custom_translation_table=table,
            verbose=False,
            **options,
        )
    return program.model_proto


def test_torch_exports_the_operator() -> None:
    ort = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    sizes = {axis: torch.export.Dim(name) for axis, name in ((0, "n"), (2, "h"), (3, "w"))}
    inputs = tuple(torch.randn(2, 2, 8, 6, 10))
    model = export(onnx_ops.translation_table(), inputs, dynamic_shapes=(sizes, sizes))
    assert {node.domain for node in model.graph.node} == {""}
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    for shape in ((2, 8, 6, 10), (1, 8, 11, 7)):
        f1, f2 = torch.randn(2, *shape)
        out = session.run(None, dict(zip(names, (f1.numpy(), f2.numpy()), strict=True)))[0]
        np.testing.assert_allclose(out, Match()(f1, f2), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_torch_exports_one_node_for_plugins(dtype: torch.dtype) -> None:
    pytest.importorskip("onnxscript")
    inputs = tuple(torch.randn(2, 2, 8, 6, 10).to(dtype))
    model = export(onnx_ops.plugin_table(), inputs)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Relu", "correlation", "LeakyRelu"]
    assert {opset.domain: opset.version for opset in model.opset_import} == {"": 18, "flow": 1}
    node = model.graph.node[1]
    assert node.domain == "flow"
    # What the parser of TensorRT reads; strings as the proto has them.
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    assert attributes == {
        "max_displacement": 6,
        "stride_2": 2,
        "plugin_namespace": b"flow",
        "plugin_version": b"1",
    }
    # TensorRT needs no shapes of what lies between, other tools do.
    element = {torch.float32: onnx.TensorProto.FLOAT, torch.float16: onnx.TensorProto.FLOAT16}
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*model.graph.value_info, *model.graph.output)
        if value.type.tensor_type.elem_type == element[dtype]
    }
    assert shapes[node.output[0]] == shapes[model.graph.output[0].name] == [2, 7 * 7, 6, 10]


def test_builds_in_tensorrt_for_rtx() -> None:
    tensorrt = pytest.importorskip("tensorrt_rtx")
    model = onnx_ops.correlation_model(
        max_displacement=20, stride_2=2, shape=("N", 64, "H", "W"), dtype=onnx.TensorProto.FLOAT16
    )
    builder = tensorrt.Builder(tensorrt.Logger(tensorrt.Logger.ERROR))
    network = builder.create_network()
    parser = tensorrt.OnnxParser(network, builder.logger)
    parsed = parser.parse(model.SerializeToString())
    assert parsed, [parser.get_error(i).desc() for i in range(parser.num_errors)]
    config, profile = builder.create_builder_config(), builder.create_optimization_profile()
    for name in ("f1", "f2"):
        profile.set_shape(name, (1, 64, 8, 8), (1, 64, 48, 64), (2, 64, 56, 128))
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(network, config) is not None
