"""Signed bundles."""

import base64
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import engine
from engine.bulk import cluster
from engine.bundle.manifest import read_manifest, write_manifest
from engine.bundle.signature import SIGNATURE_FILE, Signer
from engine.cli.main import main
from engine.errors import BackendNotInstalledError, BundleError, InputError
from tests.support.one_process import process_here, replace_ray

cryptography = pytest.importorskip("cryptography", reason="cryptography is an optional extra")

# RFC 8032, section 7.1, TEST 1 and TEST 2: the keys in the fixed headers of RFC 8410.
PRIVATE = "302e020100300506032b657004220420"
PUBLIC = "302a300506032b6570032100"
SECRETS = (
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
)
PUBLICS = (
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
)


def pem(folder: Path, name: str, kind: str, header: str, key: str) -> Path:
    text = base64.b64encode(bytes.fromhex(header + key)).decode()
    path = folder / name
    path.write_text(f"-----BEGIN {kind} KEY-----\n{text}\n-----END {kind} KEY-----\n")
    return path


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for owner, secret, public in zip(("mine", "other"), SECRETS, PUBLICS, strict=True):
        pem(folder, f"{owner}.pem", "PRIVATE", PRIVATE, secret)
        pem(folder, f"{owner}.pub", "PUBLIC", PUBLIC, public)
    return folder


@pytest.fixture
def signed(tiny_bundle: Path, keys: Path, tmp_path: Path) -> Path:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    Signer(keys / "mine.pem").sign(bundle)
    return bundle


def load(bundle: Path, trust: Path) -> None:
    engine.load(bundle, backend="onnxruntime", threads=1, trust=trust).close()


def test_a_signed_bundle_opens_with_its_key_and_without_any(signed, keys):
    load(signed, keys / "mine.pub")
    engine.load(signed, backend="onnxruntime", threads=1).close()


def test_the_signature_is_one_that_openssl_verifies(signed, keys):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(keys / "mine.pub"),
               "-rawin", "-in", str(signed / "manifest.json"),
               "-sigfile", str(signed / SIGNATURE_FILE)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "Signature Verified Successfully\n")


def test_somebody_elses_key(signed, keys):
    with pytest.raises(BundleError, match=r"no signature of manifest\.json by the key in .*other"):
        load(signed, keys / "other.pub")


@pytest.mark.parametrize("size", [0, 63, 64, 65, 1000])
def test_another_signature(signed, keys, size):
    (signed / SIGNATURE_FILE).write_bytes(bytes(size))
    with pytest.raises(BundleError, match=r"is no signature of manifest\.json .* Do not use it"):
        load(signed, keys / "mine.pub")


def test_a_bundle_without_a_signature(tiny_bundle, keys):
    with pytest.raises(BundleError, match=r"is not signed: manifest\.json\.sig: No such .* --sign"):
        load(tiny_bundle, keys / "mine.pub")


def test_what_is_not_signed_is_not_even_parsed(signed, keys):
    """A manifest that somebody wrote anew, whose own SHA-256 is right."""
    manifest = read_manifest(signed)
    write_manifest(signed, manifest)
    load(signed, keys / "mine.pub")  # the same content
    (signed / "manifest.json").write_text("[" * 1000)
    with pytest.raises(BundleError, match="is no signature"):
        load(signed, keys / "mine.pub")


def test_a_changed_model_of_a_signed_manifest(signed, keys):
    (signed / "model.onnx").write_bytes(b"x" * (signed / "model.onnx").stat().st_size)
    with pytest.raises(BundleError, match=r"model\.onnx has SHA-256"):
        load(signed, keys / "mine.pub")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", r"missing is no public key for signatures: .*No such file.*`openssl pkey -in"),
        ("mine.pem", r"mine\.pem is no public key for signatures: .* Expected a PEM file"),
    ],
)
def test_what_is_no_public_key(signed, keys, name, message):
    with pytest.raises(InputError, match=message):
        load(signed, keys / name)


def test_what_is_no_private_key(keys, tmp_path):
    ec = cryptography.hazmat.primitives.asymmetric.ec
    serialization = cryptography.hazmat.primitives.serialization
    other = ec.generate_private_key(ec.SECP256R1())
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    encrypted = serialization.load_pem_private_key((keys / "mine.pem").read_bytes(), None)
    texts = {
        "other kind": other.private_bytes(*form, serialization.NoEncryption()),
        "encrypted": encrypted.private_bytes(*form, serialization.BestAvailableEncryption(b"a")),
        "public": (keys / "mine.pub").read_bytes(),
        "empty": b"",
    }
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text)
        with pytest.raises(InputError, match=rf"{name} is no private key for signatures: "):
            Signer(tmp_path / name)


def test_without_cryptography(signed, keys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(BackendNotInstalledError, match=r"pip install 'flownet-engine\[sign\]'$"):
        load(signed, keys / "mine.pub")


def test_the_command_opens_what_is_signed_only(signed, keys, tmp_path, capsys):
    for name in ("one.ppm", "two.ppm"):
        (tmp_path / name).write_bytes(b"P6 64 64 255\n" + bytes(3 * 64 * 64))
    pictures = [str(tmp_path / name) for name in ("one.ppm", "two.ppm")]
    flow, bundle = tmp_path / "flow.flo", ["--bundle", str(signed), "--backend", "onnxruntime"]
    for key, code in (("other", 1), ("mine", 0)):
        trust = ["--trust", str(keys / f"{key}.pub")]
        assert main(["infer", *pictures, "-o", str(flow), *bundle, *trust]) == code
        assert flow.exists() == (code == 0)
    assert "is no signature of manifest.json by the key in" in capsys.readouterr().err
    assert main(["doctor", "--bundle", str(signed), "--trust", str(keys / "other.pub")]) == 1
    assert "backends  not tried" in capsys.readouterr().out


def test_workers_find_the_key_from_their_own_folders(signed, keys, tmp_path, monkeypatch, capsys):
    clip = tmp_path / "clips" / "pictures"
    clip.mkdir(parents=True)
    for name in ("one.ppm", "two.ppm"):
        (clip / name).write_bytes(b"P6 64 64 255\n" + bytes(3 * 64 * 64))

    def elsewhere(*arguments):
        monkeypatch.chdir(tmp_path)
        yield from process_here(*arguments)

    replace_ray(monkeypatch)
    monkeypatch.setattr(cluster, "process_all", elsewhere)
    command = ["extract", str(clip.parent), "-o", str(tmp_path / "flows"), "--bundle", str(signed)]
    for key, code in (("other", 1), ("mine", 0)):
        monkeypatch.chdir(keys)
        assert main([*command, "--backend", "onnxruntime", "--trust", f"{key}.pub"]) == code
    assert "is no signature of manifest.json by the key in" in capsys.readouterr().err
