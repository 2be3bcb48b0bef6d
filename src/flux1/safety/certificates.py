"""The certificate that signs pictures, and its key: made here, or the operator's own.

Import it inside functions only: `cryptography` comes with the `serve` extra.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from flux1.errors import SettingsError

_VALIDITY = timedelta(days=3652)  # ten years
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_UNUSED = dict.fromkeys(
    ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
     "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    False,
)  # fmt: skip


@dataclass(frozen=True)
class Identity:
    """A signer. `chain`, `issuer` and `key` are PEM; `algorithm` is C2PA's name of the signature.

    `issuer` and `serial` together name the certificate: no issuer gives a serial twice.
    """

    chain: bytes
    issuer: bytes
    serial: int
    algorithm: str
    key: bytes


def load_identity(certificate: Path, key: Path) -> Identity:
    """The signer of two PEM files: its certificate followed by its issuer's, and its key.

    SettingsError, in one line, for what is missing, unreadable, unfit or out of date.
    """
    chain_pem, key_pem = _read("certificate", certificate), _read("certificate_key", key)
    try:
        chain = x509.load_pem_x509_certificates(chain_pem)
    except ValueError:
        raise SettingsError(f"certificate: {certificate} is not a PEM certificate chain") from None
    try:
        private = load_pem_private_key(key_pem, None)
    except TypeError:
        message = f"certificate_key: {key} is encrypted; store it without a pass phrase"
        raise SettingsError(message) from None
    except ValueError:
        raise SettingsError(f"certificate_key: {key} is not a PEM private key") from None
    signer = chain[0]
    if signer.public_key() != private.public_key():
        raise SettingsError(
            f"certificate_key: {key} is not the key of the first certificate in {certificate}"
        )
    begin, end = signer.not_valid_before_utc, signer.not_valid_after_utc
    if not begin <= datetime.now(UTC) < end:
        raise SettingsError(
            f"certificate: {certificate} is valid only from {begin:%Y-%m-%d} to {end:%Y-%m-%d}"
        )
    if len(chain) < 2:
        raise SettingsError(
            f"certificate: {certificate} holds one certificate; append that of its issuer"
        )
    return Identity(
        b"".join(one.public_bytes(Encoding.PEM) for one in chain),
        chain[1].public_bytes(Encoding.PEM),
        signer.serial_number,
        _algorithm(key, private),
        _key_pem(private),
    )


def make_identity(path: Path) -> None:
    """Write a new signer (P-256, valid ten years) to `path`, readable by its owner alone.

    Its issuer's key is forgotten at once: nobody, not even this server, can make a second
    certificate that passes for it. SettingsError if it cannot be written.
    """
    authority, signer = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    name = f"flux1 {os.urandom(8).hex()}"
    issuer_id = x509.SubjectKeyIdentifier.from_public_key(authority.public_key())
    issued = _certificate(f"{name} issuer", name, authority, "key_cert_sign").add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    )
    signed = (
        _certificate(f"{name} signer", name, signer, "digital_signature")
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id), False
        )
    )
    chain = [built.sign(authority, SHA256()) for built in (signed, issued)]
    _write_private(path, _key_pem(signer) + b"".join(c.public_bytes(Encoding.PEM) for c in chain))


def _certificate(
    role: str, name: str, owner: ec.EllipticCurvePrivateKey, usage: str
) -> x509.CertificateBuilder:
    """Return what the certificates of issuer and signer have in common."""

    def named(text: str) -> x509.Name:
        parts = ((NameOID.ORGANIZATION_NAME, "flux1"), (NameOID.COMMON_NAME, text))
        return x509.Name([x509.NameAttribute(kind, part) for kind, part in parts])

    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder(named(f"{name} issuer"), named(role), owner.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # for readers whose clock is late
        .not_valid_after(now + _VALIDITY)
        .add_extension(x509.KeyUsage(**{**_UNUSED, usage: True}), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(owner.public_key()), False)
    )


def _algorithm(path: Path, private: PrivateKeyTypes) -> str:
    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in _CURVES:
        return _CURVES[private.curve.name]
    if isinstance(private, rsa.RSAPrivateKey):
        return "ps256"
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    raise SettingsError(f"certificate_key: {path} is not EC (P-256, P-384, P-521), Ed25519 or RSA")


def _key_pem(private: PrivateKeyTypes) -> bytes:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _read(setting: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise SettingsError(f"{setting}: there is no {path}") from None
    except OSError as failure:
        raise SettingsError(f"{setting}: cannot read {path}: {failure.strerror}") from None


def _write_private(path: Path, data: bytes) -> None:
    """Beside, then renamed: never half there, and never readable by others."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
        partial.replace(path)
    except OSError as failure:
        raise SettingsError(f"certificate: cannot write {path}: {failure.strerror}") from failure
    finally:
        with suppress(OSError):
            partial.unlink()
