"""`python -m export.triton BUNDLE -o REPO`."""

import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from engine.bundle.manifest import BundleFile, read_manifest, write_manifest
from export.triton import verify
from export.triton.__main__ import main
from export.triton.graphs import State
from export.triton.verify import Model, sequence
from tests.export.tiny import assert_one_line
from tests.export.triton.test_config import parsed
from tests.support.tiny_network import manifest_for, tiny_int8_model

TOLERANCE = 1e-5


def config_of(repository, name):
    return parsed((repository / name / "config.pbtxt").read_text())


def test_both_models(tiny_bundle, tiny_flow, rng, tmp_path, capsys):
    (tmp_path / "models" / "another" / "1").mkdir(parents=True)
    for _ in range(2):  # a second time it replaces them
        arguments = [str(tiny_bundle), "-o", str(tmp_path / "models")]
        assert main(arguments) == 0
    assert "differs by 0.0e+00 px on average" in capsys.readouterr().out
    found = {str(path.relative_to(tmp_path / "models")) for path in tmp_path.rglob("*")}
    assert found == {
        *(".", "another", "another/1"),
        *("flow_pair", "flow_pair/1", "flow_pair/config.pbtxt", "flow_pair/1/model.onnx"),
        *("flow_stream", "flow_stream/1", "flow_stream/config.pbtxt", "flow_stream/1/model.onnx"),
    }
    config = config_of(tmp_path / "models", "flow_pair")
    assert config.max_batch_size == read_manifest(tiny_bundle).profile.max[0]
    assert [*config.model_warmup[0].inputs["image1"].dims] == [128, 192, 3]
    images = rng.integers(0, 256, (3, 50, 70, 3), np.uint8)
    model = Model("onnxruntime", tmp_path / "models" / "flow_stream" / "1" / "model.onnx")
    (state,) = config_of(tmp_path / "models", "flow_stream").sequence_batching.state
    assert state.input_name == "previous_image"
    states = [State("image", TensorProto.UINT8, tuple(state.dims))]
    _, second, third = (outputs["flow"][0] for outputs in sequence(model, states, images))
    np.testing.assert_allclose(second, tiny_flow(*images[:2]), atol=TOLERANCE)
    np.testing.assert_allclose(third, tiny_flow(*images[1:]), atol=TOLERANCE)


def test_all_passes_of_a_coarse_to_fine_network(bundle_with_passes, tmp_path, capsys):
    output = ["-o", str(tmp_path), "--models", "flow_pair"]
    assert main([str(bundle_with_passes), *output]) == 0
    assert "differs by " in capsys.readouterr().out  # else `verify_pair` had raised
    written = onnx.load(tmp_path / "flow_pair" / "1" / "model.onnx")
    assert "If" not in {node.op_type for node in written.graph.node}


def test_openvino_gets_pairs_only(tiny_bundle, tmp_path, capsys):
    pytest.importorskip("openvino", reason="openvino is not installed")
    output = ["-o", str(tmp_path), "--backend", "openvino", "--warm-up", "64x64"]
    assert main([str(tiny_bundle), *output]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["flow_pair"]
    config = config_of(tmp_path, "flow_pair")
    assert (config.backend, config.max_batch_size) == ("openvino", 0)
    assert [each.name for each in config.model_warmup] == ["1x64x64"]
    assert "flow_stream was not written: Triton's OpenVINO backend" in capsys.readouterr().out


def test_int8_is_computed_in_float_by_onnxruntime(tmp_path):
    onnx.save(tiny_int8_model(64), tmp_path / "model.onnx")
    write_manifest(tmp_path, manifest_for(tmp_path, "int8"))
    assert main([str(tmp_path), "-o", str(tmp_path / "models")]) == 0
    written = onnx.load(tmp_path / "models" / "flow_pair" / "1" / "model.onnx")
    assert "QuantizeLinear" not in {node.op_type for node in written.graph.node}


def test_a_plan_is_copied(tiny_bundle, tmp_path, capsys):
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    (bundle / "model.plan").write_bytes(b"plan")
    manifest = read_manifest(bundle)
    plan = BundleFile.of(
        bundle / "model.plan",
        role="plan",
        precision="fp32",
        tool="TensorRT 11",
        compute_capability="9.0",
    )
    write_manifest(bundle, replace(manifest, files=manifest.files | {"model.plan": plan}))
    output = tmp_path / "models"
    assert main([str(bundle), "-o", str(output), "--backend", "tensorrt"]) == 0
    assert (output / "flow_pair" / "1" / "model.plan").read_bytes() == b"plan"
    config = config_of(output, "flow_pair")
    assert (config.backend, config.default_model_filename) == ("tensorrt", "model.plan")
    assert "the bundle's plan returns the flow alone" in capsys.readouterr().out
    arguments = [str(bundle), "-o", str(output), "--backend", "tensorrt", "--max-batch", "999"]
    assert main(arguments) == 2
    assert_one_line(capsys, f"takes at most {manifest.profile.max[0]} pairs")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--backend", "tensorrt"], "has no model.plan; it contains model.onnx"),
        (["--backend", "openvino", "--models", "flow_stream"], "keeps no state between requests"),
        (["--models", "flow"], "unknown model 'flow'; expected flow_pair, flow_stream"),
        (["--max-batch", "0"], "'0' is out of range"),
        (["--backend", "openvino", "--max-batch", "2"], "computes batches of one fixed size"),
    ],
)
def test_refused(tiny_bundle, tmp_path, capsys, arguments, text):
    assert main([str(tiny_bundle), "-o", str(tmp_path / "models"), *arguments]) == 2
    assert_one_line(capsys, text)
    assert not (tmp_path / "models").exists()


def test_other_folders_are_kept(tiny_bundle, tmp_path, capsys):
    (tmp_path / "flow_pair").mkdir()
    (tmp_path / "flow_pair" / "notes.txt").write_text("mine")
    assert main([str(tiny_bundle), "-o", str(tmp_path)]) == 2
    assert_one_line(capsys, "holds 'notes.txt', which is not part of what is written there")
    assert main([str(tmp_path / "none"), "-o", str(tmp_path / "models")]) == 2
    assert_one_line(capsys, "is not a bundle")


def test_a_changed_bundle(tiny_bundle, tmp_path, capsys):
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    content = bytearray((bundle / "model.onnx").read_bytes())
    content[-1] ^= 1
    (bundle / "model.onnx").write_bytes(content)
    assert main([str(bundle), "-o", str(tmp_path / "models")]) == 2
    assert_one_line(capsys, "has SHA-256")


def test_a_wrong_flow_is_not_written(tiny_bundle, tmp_path, capsys, monkeypatch):
    run = verify.Model.__call__
    monkeypatch.setattr(
        verify.Model,
        "__call__",
        lambda model, inputs: {name: value + 1 for name, value in run(model, inputs).items()},
    )
    assert main([str(tiny_bundle), "-o", str(tmp_path / "models")]) == 1
    assert "flow_pair differs by 1.4e+00 px on average" in capsys.readouterr().err
    assert [*(tmp_path / "models").iterdir()] == []
