import shutil

import pytest

from bench.compare_options import parse_options
from bench.harness.plan import Row
from bench.runners.registry import BY_NAME, METHODS, OPENCV_ALGORITHMS
from engine.bundle.signature import Signer
from engine.errors import BundleError
from engine.system.argument_parser import UsageError


def test_default_rows():
    (group,) = parse_options([]).groups
    assert len(set(group)) == len(group)
    assert {(row.size, row.batch) for row in group} == {((384, 512), 1)}
    quick = {method.name for method in METHODS if not (method.slow or method.named)}
    assert {row.backend for row in group} == quick
    assert [row.network for row in group if row.backend == "opencv"] == list(OPENCV_ALGORITHMS)
    assert all(row.precision in row.method.precisions for row in group)
    # The engine and the bare session, which are compared, are measured in sequence.
    plain = Row("coarse_to_fine_slim", "openvino", "fp32", (384, 512), 1)
    assert group[group.index(plain) + 1].backend == "openvino (bare)"


def test_networks_default_to_those_of_the_bundles(tiny_bundle, tiny_split_bundle):
    given = ["--bundle", str(tiny_bundle), "--bundle", str(tiny_split_bundle)]
    (group,) = parse_options([*given, "--backends", "onnxruntime"]).groups
    assert {row.network for row in group} == {"tiny"}
    (group,) = parse_options([*given, "--backends", "onnxruntime", "--network", "flownets"]).groups
    assert {row.network for row in group} == {"flownets"}
    with pytest.raises(BundleError, match="is not a bundle"):
        parse_options(["--bundle", "nowhere"])


def test_only_signed_bundles_with_a_key(tiny_bundle, tmp_path):
    keys = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    private, pem = keys.Ed25519PrivateKey.generate(), serialization.Encoding.PEM
    nothing, own = serialization.NoEncryption(), serialization.PrivateFormat.PKCS8
    (tmp_path / "private.pem").write_bytes(private.private_bytes(pem, own, nothing))
    public, trust = serialization.PublicFormat.SubjectPublicKeyInfo, tmp_path / "public.pem"
    trust.write_bytes(private.public_key().public_bytes(pem, public))
    signed = shutil.copytree(tiny_bundle, tmp_path / "signed")
    Signer(tmp_path / "private.pem").sign(signed)
    assert parse_options(["--bundle", str(signed), "--trust", str(trust)]).trust == trust
    with pytest.raises(BundleError, match="is not signed"):
        parse_options(["--bundle", str(tiny_bundle), "--trust", str(trust)])
    with pytest.raises(UsageError, match="--trust is for --bundle"):
        parse_options(["--trust", str(trust)])


def test_full_rows():
    groups = parse_options(["--full"]).groups
    assert {row.backend for group in groups for row in group} == {
        method.name for method in METHODS if not method.named
    }
    assert {row.network for group in groups for row in group} >= {"flownets", "flownets_slim"}
    opencv = [row for group in groups for row in group if row.backend == "opencv"]
    assert len(opencv) == len(set(opencv)) == len(OPENCV_ALGORITHMS) * 2


def test_rows_for_large_frames_are_chosen_by_name():
    (group,) = parse_options(["--backends", "openvino (tiled 512)"]).groups
    assert {row.backend for row in group} == {"openvino (tiled 512)"}


def test_chosen_rows():
    arguments = "--backends pytorch-compiled,opencv --sizes 64x96,32x32 --precisions fp16,fp32"
    groups = parse_options([*arguments.split(), "--batch", "2"]).groups
    assert [str(group[0]) for group in groups] == [
        "coarse_to_fine_slim pytorch-compiled fp32 64x96 batch 2",
        "coarse_to_fine_slim pytorch-compiled fp32 32x32 batch 2",
    ]
    assert {row.batch for row in groups[0][1:]} == {1}


def test_pairs_at_their_own_size_are_measured_one_at_a_time():
    options = parse_options(["--full", "--backends", "openvino", "--sizes", "native,64x96"])
    assert {row.batch for group in options.groups for row in group if row.size is None} == {1}
    assert {row.batch for group in options.groups for row in group if row.size} == {1, 4}
    assert options.size == (64, 96)
    assert parse_options(["--sizes", "native"]).size is None
    assert str(options.groups[0][-1]) == "coarse_to_fine_slim openvino int8 native batch 1"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--backends opnvino", r"unknown backend 'opnvino'; .* Did you mean 'openvino'\?"),
        ("--precisions fp61", r"unknown precision 'fp61'; .* Did you mean 'fp16'\?"),
        ("--backends pytorch-eager --precisions fp16", "no row remains"),
        ("--sizes 384", "'384' is not a size; expected HxW in pixels, .*, or native"),
        ("--sizes 0x5", "'0x5' is not a size"),
        ("--sizes native --batch 1,2", "--sizes native: .* are no batch; use --batch 1"),
        ("--batch 0", "'0' is not a count"),
        ("--batch 1,,2", "has an empty name"),
        ("--seconds 0", "'0' is out of range"),
        ("--seconds nan", "'nan' is out of range"),
        ("--network flownets,flownets_slim --weights x", "--weights is for one network"),
        ("--netwrk x", "unrecognized arguments"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(UsageError, match=message):
        parse_options(arguments.split())


def test_unavailable_methods_have_a_reason(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda module: None)
    reason = BY_NAME["openvino"].unavailable(has_gpu=False)
    assert reason == "openvino is not installed: pip install 'flownet-engine[openvino]'"
    reason = BY_NAME["tensorrt"].unavailable(has_gpu=False)
    assert reason == "no NVIDIA GPU on this machine"
    assert "tensorrt is not installed" in str(BY_NAME["tensorrt"].unavailable(has_gpu=True))
