"""Signatures of bundles: who built one, and that nobody has changed it since.

``manifest.json.sig`` is an Ed25519 signature (RFC 8032) of ``manifest.json``, which has the SHA-256
of all other files. Keys are PEM files, as OpenSSL writes them.
"""

import os
from pathlib import Path
from typing import Any

from engine.bundle.manifest import MANIFEST_FILE, Manifest, manifest_bytes, parse_manifest
from engine.bundle.reading import open_whole
from engine.errors import BackendNotInstalledError, BundleError, InputError, one_line
from engine.system.files import write_atomically

SIGNATURE_FILE = f"{MANIFEST_FILE}.sig"
# Bytes of a signature; more of a file is never read.
_LENGTH = 64


def check_signature(bundle: Path, manifest: bytes, trust: str | os.PathLike[str]) -> None:
    """Check that the owner of a key has signed a bundle.

    Args:
        bundle: the bundle's folder.
        manifest: the content of its ``manifest.json``.
        trust: PEM file with an Ed25519 public key.

    Raises:
        InputError: The key is missing or of another kind.
        BackendNotInstalledError: cryptography is not installed.
        BundleError: The bundle has no signature, or not one by this key of this manifest.
    """
    key = _key(trust, "public")
    path = bundle / SIGNATURE_FILE
    try:
        with path.open("rb") as stream:
            signature = stream.read(_LENGTH + 1)
    except OSError as error:
        raise BundleError(
            f"{bundle} is not signed: {path.name}: {error.strerror}. Expected a bundle built with "
            "`python -m export.build_engine --sign KEY`; load it without trust= only if you trust "
            "where it is from."
        ) from error
    try:
        key.verify(signature, manifest)
    except _cryptography("trust").exceptions.InvalidSignature:
        raise BundleError(
            f"{path} is no signature of {MANIFEST_FILE} by the key in {trust}: the bundle is "
            "somebody else's, or was changed after it was signed. Do not use it."
        ) from None


def read_trusted(bundle: Path, trust: str | os.PathLike[str] | None) -> Manifest:
    """Read a manifest, after the check of its signature if there is a key.

    Raises:
        BundleError: as `read_manifest` and `check_signature`; also its other errors.
    """
    return open_whole(bundle, lambda text: parse_trusted(bundle, text, trust))


def parse_trusted(bundle: Path, text: bytes, trust: str | os.PathLike[str] | None) -> Manifest:
    """As `read_trusted`, of the content of the manifest."""
    if trust is not None:
        check_signature(bundle, text, trust)
    return parse_manifest(bundle, text)


class Signer:
    """A private key that signs bundles."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read a PEM file with an Ed25519 private key that is not encrypted.

        Raises:
            InputError: The key is missing, encrypted or of another kind.
            BackendNotInstalledError: cryptography is not installed.
        """
        self._key = _key(path, "private")

    def sign(self, bundle: Path) -> None:
        """Write the signature of a bundle whose manifest is written.

        Raises:
            OSError: It cannot be written.
        """
        signature = self._key.sign(manifest_bytes(bundle))
        write_atomically(bundle / SIGNATURE_FILE, signature, sync=False)  # as the manifest


def _key(path: str | os.PathLike[str], kind: str) -> Any:
    cryptography = _cryptography("trust" if kind == "public" else "signing")
    serialization = cryptography.hazmat.primitives.serialization
    ed25519 = cryptography.hazmat.primitives.asymmetric.ed25519
    try:
        pem = Path(path).read_bytes()
        if kind == "public":
            key = serialization.load_pem_public_key(pem)
        else:
            key = serialization.load_pem_private_key(pem, password=None)
        found = type(key).__name__
    except (OSError, TypeError, ValueError) as error:  # TypeError: encrypted
        found = one_line(error)
    except cryptography.exceptions.UnsupportedAlgorithm as error:
        found = one_line(error)
    else:
        if isinstance(key, (ed25519.Ed25519PublicKey, ed25519.Ed25519PrivateKey)):
            return key
    made = "openssl genpkey -algorithm ed25519 -out private.pem"
    if kind == "public":
        made = "openssl pkey -in private.pem -pubout -out public.pem"
    raise InputError(
        f"{path} is no {kind} key for signatures: {found}. Expected a PEM file with an Ed25519 "
        f"{kind} key that is not encrypted, as of `{made}`."
    )


def _cryptography(purpose: str) -> Any:
    try:
        import cryptography.exceptions
        import cryptography.hazmat.primitives.asymmetric.ed25519
        import cryptography.hazmat.primitives.serialization
    except ImportError as error:
        raise BackendNotInstalledError(
            f"{purpose} needs the package cryptography, which cannot be imported "
            f"({one_line(error)}). Install it: pip install 'flownet-engine[sign]'"
        ) from error
    return cryptography
