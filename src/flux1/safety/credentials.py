"""Content Credentials (C2PA): a signed statement in each picture of what made it.

The manifest says that a trained model created the picture, which one, and when; never the prompt.
It covers every byte of the file, so a changed picture is known. No time authority is asked: the
moment is the signer's word.
"""

import io
import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from PIL import Image

from flux1 import __version__
from flux1.errors import DependencyError, OutputError, SettingsError, nearest
from flux1.safety.provenance import Recipe, parse_recipe
from flux1.safety.structure import check_structure

_FILE = "credentials.pem"
_ASSERTION = "flux1.model"
_AI_MADE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_MEDIA_TYPES = ("image/png", "image/jpeg", "image/webp")
# What a signing certificate may be for: e-mail, documents, C2PA claims.
_PURPOSES = "1.3.6.1.5.5.7.3.4\n1.3.6.1.5.5.7.3.36\n1.3.6.1.4.1.62558.2.1\n"
_UNTRUSTED = "signingCredential.untrusted"


@dataclass(frozen=True)
class Report:
    """A file's statements about itself, and whether they hold.

    `found`: it has a manifest that can be read. `valid`: signature and content agree with it.
    `ours`: this server's certificate signed it (and still has, if the picture was changed since).
    The rest is as the file claims, and worth no more than `valid`: `created` in ISO 8601, `signer`
    the name in the certificate.
    """

    found: bool = False
    valid: bool = False
    ours: bool = False
    model: str | None = None
    model_hash: str | None = None
    created: str | None = None
    signer: str | None = None
    problems: tuple[str, ...] = ()
    recipe: Recipe | None = None


class Credentials:
    """A certificate and its key, ready to sign and verify. Thread-safe."""

    def __init__(self, certificate: Path, key: Path) -> None:
        c2pa = _c2pa()
        from flux1.safety.certificates import load_identity

        identity = load_identity(certificate, key)
        self._serial = str(identity.serial)
        info = c2pa.C2paSignerInfo(identity.algorithm, identity.chain, identity.key, None)
        settings = {
            "builder": {"thumbnail": {"enabled": False}},
            "trust": {"user_anchors": identity.issuer.decode(), "trust_config": _PURPOSES},
            "verify": {
                "verify_after_sign": False,  # tried once, below
                "remote_manifest_fetch": False,  # a stranger's file must not name our requests
                "ocsp_fetch": False,
            },
        }
        try:
            self._context = c2pa.Context.from_dict(settings, c2pa.Signer.from_info(info))
            report = self.verify(self._embed(_blank(), "image/png", "", ""))
            problems = "; ".join(report.problems) or "its issuer must stand second in the file"
        except (c2pa.C2paError, OutputError) as failure:
            report, problems = Report(), " ".join(str(failure).split())
        if not (report.valid and report.ours):
            raise SettingsError(f"certificate: {certificate} cannot sign pictures: {problems}")

    @classmethod
    def open(
        cls, folder: Path, certificate: Path | None = None, key: Path | None = None
    ) -> "Credentials":
        """The configured PEM chain (signer first, then its issuer) and key; or, without, the
        server's own, made in `folder` on the first start and valid for ten years.

        SettingsError says in one line what is wrong with a file; DependencyError without the
        `serve` extra.
        """
        if certificate is not None and key is not None:
            return cls(certificate, key)
        if certificate is not None or key is not None:
            given, wanted = "certificate", "certificate_key"
            if certificate is None:
                given, wanted = wanted, given
            raise SettingsError(f"{wanted}: is not set, and {given} is; set both or neither")
        _c2pa()
        from flux1.safety.certificates import make_identity

        path = folder / _FILE
        if not path.exists():
            make_identity(path)
        return cls(path, path)

    def sign(self, data: bytes, media_type: str, recipe: Recipe) -> bytes:
        """The picture with a manifest. `media_type` is image/png, image/jpeg or image/webp.

        OutputError for another, or bytes that are not that.
        """
        if media_type not in _MEDIA_TYPES:
            raise OutputError(
                f"media_type: {media_type!r} is not one of {', '.join(_MEDIA_TYPES)}"
                f"{nearest(media_type, _MEDIA_TYPES)}"
            )
        return self._embed(data, media_type, recipe.model, recipe.model_hash)

    def _embed(self, data: bytes, media_type: str, model: str, model_hash: str) -> bytes:
        c2pa = _c2pa()
        signed = io.BytesIO()
        try:
            manifest = _manifest(model, model_hash)
            with c2pa.Builder(manifest, context=self._context) as builder:
                builder.sign(media_type, io.BytesIO(data), signed)
        except c2pa.C2paError as failure:
            reason = " ".join(str(failure).split())
            raise OutputError(f"output: cannot sign this {media_type}: {reason}") from failure
        return signed.getvalue()

    def verify(self, data: bytes) -> Report:
        """Return what any bytes say about themselves. Never raises for what they are."""
        c2pa = _c2pa()
        media_type = _media_type(data)
        if media_type is None:
            return Report(problems=("not a PNG, JPEG or WebP file",))
        try:
            check_structure(data)
        except OutputError as failure:
            return Report(problems=(str(failure),))
        recipe = None
        with suppress(OutputError):
            recipe = parse_recipe(data)
        try:
            with c2pa.Reader(media_type, io.BytesIO(data), context=self._context) as reader:
                store = json.loads(reader.json())
        except c2pa.C2paError.ManifestNotFound:
            return Report(recipe=recipe)
        except (c2pa.C2paError, ValueError, RecursionError) as failure:
            reason = " ".join(str(failure).split())
            return Report(problems=(f"no manifest can be read: {reason}",), recipe=recipe)
        return self._report(store, recipe)

    def _report(self, store: dict[str, Any], recipe: Recipe | None) -> Report:
        manifest = _at(store, "manifests", store.get("active_manifest"))
        results = _at(store, "validation_results", "activeManifest", "success") or []
        holds = {_at(result, "code") for result in results}
        failures = [f for f in store.get("validation_status") or [] if f["code"] != _UNTRUSTED]
        problems = [f"{f['code']}: {f.get('explanation', '')}" for f in failures]
        return Report(
            found=True,
            valid=store.get("validation_state") in ("Valid", "Trusted"),
            ours={"signingCredential.trusted", "claimSignature.validated"} <= holds
            and _at(manifest, "signature_info", "cert_serial_number") == self._serial,
            model=_text(_assertion(manifest, _ASSERTION), "model"),
            model_hash=_text(_assertion(manifest, _ASSERTION), "model_hash"),
            created=_text(_assertion(manifest, "c2pa.actions"), "actions", 0, "when"),
            signer=_text(manifest, "signature_info", "common_name"),
            problems=tuple(dict.fromkeys(problems)),
            recipe=recipe,
        )


def _manifest(model: str, model_hash: str) -> dict[str, Any]:
    flux1 = {"name": "flux1", "version": __version__}
    created = {
        "action": "c2pa.created",
        "when": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "softwareAgent": flux1,
        "digitalSourceType": _AI_MADE,
    }
    about = {"model": model, "model_hash": model_hash}
    return {
        "claim_generator_info": [flux1],
        "assertions": [
            {"label": "c2pa.actions", "data": {"actions": [created]}, "created": True},
            {"label": _ASSERTION, "data": about, "created": True},
        ],
    }


def _blank() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "PNG")
    return buffer.getvalue()


def _media_type(data: bytes) -> str | None:
    """By the first bytes; the native reader is shown no other kind of file."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def _assertion(manifest: Any, label: str) -> Any:
    """The data of the first assertion of that label, in whatever version."""
    for assertion in _at(manifest, "assertions") or []:
        if str(_at(assertion, "label")).startswith(label):
            return _at(assertion, "data")
    return None


def _at(value: Any, *path: str | int | None) -> Any:
    """Return what lies at a path inside a stranger's JSON, None if nothing does."""
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _text(value: Any, *path: str | int) -> str | None:
    found = _at(value, *path)
    return found if isinstance(found, str) else None


def _c2pa() -> ModuleType:
    try:
        import c2pa
    except ImportError as missing:
        raise DependencyError("signing pictures", missing.name, "serve") from missing
    return c2pa
