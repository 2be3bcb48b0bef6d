"""Signed pictures, read back by C2PA's own library, before and after somebody changes them."""

import io
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import c2pa
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image, PngImagePlugin

from flux1.errors import OutputError, SettingsError
from flux1.safety.credentials import Credentials, Report
from flux1.safety.provenance import Recipe, encode_picture, parse_recipe, read_recipe

RECIPE = Recipe(
    prompt="a secret fox", negative_prompt="", model="flux-mini", model_hash="0123456789ab",
    width=64, height=48, steps=4, guidance=3.5, true_cfg=1.0, solver="euler", seed=7,
    device="cpu", dtype="float32", version="0.1.0",
)  # fmt: skip
FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return Credentials.open(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    return Credentials.open(tmp_path_factory.mktemp("theirs"))


@pytest.fixture(scope="module")
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))


@pytest.fixture(params=FORMATS)
def drawn(request, picture):
    """A picture's format, media type and bytes."""
    return request.param, FORMATS[request.param], encode_picture(picture, RECIPE, request.param)


def read(data: bytes, media_type: str) -> dict:
    with c2pa.Reader(media_type, io.BytesIO(data)) as reader:
        return json.loads(reader.json())


def test_every_format_is_signed_and_says_what_made_it(ours, drawn):
    _, media_type, data = drawn
    signed = ours.sign(data, media_type, RECIPE)
    store = read(signed, media_type)
    assert store["validation_state"] == "Valid"
    manifest = store["manifests"][store["active_manifest"]]
    assert manifest["signature_info"]["alg"] == "Es256"
    assert manifest["claim_generator_info"][0]["name"] == "flux1"
    assertions = {a["label"]: a["data"] for a in manifest["assertions"]}
    (action,) = assertions["c2pa.actions.v2"]["actions"]
    assert action["action"] == "c2pa.created"
    assert action["digitalSourceType"].endswith("/trainedAlgorithmicMedia")
    assert assertions["flux1.model"] == {"model": "flux-mini", "model_hash": "0123456789ab"}
    assert "secret" not in json.dumps(store)

    report = ours.verify(signed)
    assert (report.found, report.valid, report.ours, report.problems) == (True, True, True, ())
    assert (report.model, report.model_hash) == ("flux-mini", "0123456789ab")
    assert report.signer == manifest["signature_info"]["common_name"]
    assert report.recipe == RECIPE
    made = datetime.fromisoformat(report.created)
    assert abs(datetime.now(UTC) - made) < timedelta(minutes=5)


def test_signing_leaves_recipe_and_pixels_alone(ours, drawn, tmp_path):
    _, media_type, data = drawn
    signed = ours.sign(data, media_type, RECIPE)
    assert parse_recipe(signed) == RECIPE
    (tmp_path / "signed").write_bytes(signed)
    assert read_recipe(tmp_path / "signed") == RECIPE
    with Image.open(io.BytesIO(data)) as before, Image.open(io.BytesIO(signed)) as after:
        assert after.tobytes() == before.tobytes()
        assert after.getexif() == before.getexif()


def test_a_changed_byte_of_the_picture_is_known(ours, drawn):
    _, media_type, data = drawn
    signed = ours.sign(data, media_type, RECIPE)
    place = signed.index(data[len(data) // 2 :][:64])  # in the middle of the pixels
    changed = signed[:place] + bytes([signed[place] ^ 1]) + signed[place + 1 :]
    report = ours.verify(changed)
    assert report.found
    assert not report.valid
    assert report.ours
    assert [problem.partition(":")[0] for problem in report.problems] == [
        "assertion.dataHash.mismatch"
    ]


def test_a_changed_manifest_is_known(ours, drawn):
    _, media_type, data = drawn
    signed = ours.sign(data, media_type, RECIPE)
    report = ours.verify(signed.replace(b"flux-mini", b"flux-maxi"))
    assert not report.valid
    assert report.problems


def test_a_changed_recipe_is_known(ours, picture):
    signed = ours.sign(encode_picture(picture, RECIPE, "PNG"), "image/png", RECIPE)
    report = ours.verify(signed.replace(b"a secret fox", b"a purple cat"))
    assert not report.valid
    assert report.problems


def test_a_picture_saved_again_has_no_manifest(ours, drawn):
    format, media_type, data = drawn
    again = io.BytesIO()
    with Image.open(io.BytesIO(ours.sign(data, media_type, RECIPE))) as opened:
        opened.save(again, format)
    assert ours.verify(again.getvalue()) == Report()
    assert ours.verify(data) == Report(recipe=RECIPE)


def test_anothers_signature_is_valid_and_not_ours(ours, theirs, drawn):
    _, media_type, data = drawn
    report = ours.verify(theirs.sign(data, media_type, RECIPE))
    assert (report.found, report.valid, report.ours, report.problems) == (True, True, False, ())
    assert report.signer != ours.verify(ours.sign(data, media_type, RECIPE)).signer


def test_a_restart_knows_its_own(tmp_path, drawn):
    _, media_type, data = drawn
    signed = Credentials.open(tmp_path / "data").sign(data, media_type, RECIPE)
    assert Credentials.open(tmp_path / "data").verify(signed).ours


def test_garbage_never_raises(ours, drawn, picture):
    _, media_type, data = drawn
    signed = ours.sign(data, media_type, RECIPE)
    dice = np.random.default_rng(0)
    for garbage in (
        *(b"", b"GIF89a", b"RIFF", b"RIFF\0\0\0\0WEBP", b"\xff\xd8\xff", b"x" * 1000),
        *(signed[:end] for end in (10, 200, len(signed) // 2, -20)),
        *(head + dice.bytes(5000) for head in (signed[:30], b"\x89PNG\r\n\x1a\n")),
    ):
        assert not ours.verify(garbage).valid
    assert ours.verify(b"GIF89a").problems == ("not a PNG, JPEG or WebP file",)
    for _ in range(100):
        spoilt = bytearray(signed)
        for place in dice.integers(0, len(spoilt), 20):
            spoilt[place] = dice.integers(256)
        assert isinstance(ours.verify(bytes(spoilt)), Report)


def test_a_strange_manifest_is_read_with_care(ours, picture, tmp_path):
    """Somebody's valid signature over our assertions' names with other things in them."""
    key, chain = chain_of(ec.generate_private_key(ec.SECP256R1()))
    info = c2pa.C2paSignerInfo("es256", chain, pem(key), None)
    context = c2pa.Context.from_dict({}, c2pa.Signer.from_info(info))
    source = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    action = {"action": "c2pa.created", "digitalSourceType": source}
    for about in ({"model": 3, "model_hash": ["x"]}, {}, {"model": {"a": None}}):
        assertions = [
            {"label": "c2pa.actions", "data": {"actions": [action]}},
            {"label": "flux1.model", "data": about},
        ]
        signed = io.BytesIO()
        with c2pa.Builder({"assertions": assertions}, context=context) as builder:
            data = encode_picture(picture, RECIPE, "PNG")
            builder.sign("image/png", io.BytesIO(data), signed)
        report = ours.verify(signed.getvalue())
        assert (report.found, report.valid, report.ours) == (True, True, False)
        assert (report.model, report.model_hash, report.created) == (None, None, None)


def test_threads_sign_and_verify_at_once(ours, picture):
    def work(seed: int) -> Report:
        format = list(FORMATS)[seed % 3]
        recipe = Recipe(**{**vars(RECIPE), "seed": seed, "model": f"model-{seed}"})
        data = encode_picture(picture, recipe, format)
        return ours.verify(ours.sign(data, FORMATS[format], recipe))

    with ThreadPoolExecutor(8) as pool:
        reports = list(pool.map(work, range(48)))
    assert all(report.valid and report.ours for report in reports)
    assert [report.model for report in reports] == [f"model-{seed}" for seed in range(48)]
    assert [report.recipe.seed for report in reports] == list(range(48))


def test_what_cannot_be_signed_is_one_clear_line(ours, picture):
    with pytest.raises(OutputError, match=r"'image/jpg' is not one of .*did you mean 'image/jpeg'"):
        ours.sign(b"", "image/jpg", RECIPE)
    for data in (b"", b"rubbish"):
        with pytest.raises(OutputError, match="cannot sign this image/png") as caught:
            ours.sign(data, "image/png", RECIPE)
        assert "\n" not in str(caught.value)


def test_text_that_looks_like_a_manifest_is_none(ours, picture):
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt("c2pa", "jumb c2pa valid")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=chunks)
    assert ours.verify(buffer.getvalue()) == Report()


# --- the certificate ------------------------------------------------------------------------------


def pem(key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def chain_of(key, *, days: int = 30, purpose=ExtendedKeyUsageOID.EMAIL_PROTECTION, authority=None):
    """A key, and the PEM chain of its certificate up to a root, as an operator's CA issues one."""
    names = ["signer", "middle", "root"]
    keys = [key, *(authority or (ec.generate_private_key(ec.SECP256R1()) for _ in range(2)))]
    now = datetime.now(UTC)
    chain = b""
    for level, (name, owner) in enumerate(zip(names, keys, strict=True)):
        above = min(level + 1, 2)
        subject, issuer = (
            x509.Name([
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "An operator"),
                x509.NameAttribute(NameOID.COMMON_NAME, role),
            ])
            for role in (name, names[above])
        )  # fmt: skip
        usage = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
             "crl_sign", "encipher_only", "decipher_only"), False)  # fmt: skip
        built = (
            x509.CertificateBuilder(issuer, subject, owner.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=100))
            .not_valid_after(now + timedelta(days=days if level == 0 else 100))
            .add_extension(x509.BasicConstraints(level > 0, level - 1 if level else None), True)
            .add_extension(
                x509.KeyUsage(digital_signature=level == 0, key_cert_sign=level > 0, **usage), True
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(owner.public_key()), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[above].public_key()), False
            )
        )
        if level == 0:
            built = built.add_extension(x509.ExtendedKeyUsage([purpose]), False)
        chain += built.sign(keys[above], SHA256()).public_bytes(Encoding.PEM)
    return key, chain


@pytest.fixture
def files(tmp_path):
    def write(chain: bytes, key: bytes):
        (tmp_path / "chain.pem").write_bytes(chain)
        (tmp_path / "key.pem").write_bytes(key)
        return Credentials.open(tmp_path / "data", tmp_path / "chain.pem", tmp_path / "key.pem")

    return write


def test_the_own_certificate_is_private_and_lasts_ten_years(tmp_path):
    before = os.umask(0)
    try:
        Credentials.open(tmp_path / "new" / "data")
    finally:
        os.umask(before)
    (path,) = (tmp_path / "new" / "data").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    signer, issuer = x509.load_pem_x509_certificates(path.read_bytes())
    signer.verify_directly_issued_by(issuer)
    issuer.verify_directly_issued_by(issuer)
    assert signer.not_valid_after_utc - datetime.now(UTC) > timedelta(days=3650)
    assert signer.public_key().curve.name == "secp256r1"


@pytest.mark.parametrize(("key", "algorithm"), [
    (ec.generate_private_key(ec.SECP256R1()), "Es256"),
    (ec.generate_private_key(ec.SECP384R1()), "Es384"),
    (ec.generate_private_key(ec.SECP521R1()), "Es512"),
    (ed25519.Ed25519PrivateKey.generate(), "Ed25519"),
    (rsa.generate_private_key(65537, 2048), "Ps256"),
])  # fmt: skip
def test_an_operators_certificate_signs(files, ours, picture, tmp_path, key, algorithm):
    key, chain = chain_of(key)
    own = files(chain, pem(key))
    assert not (tmp_path / "data").exists()
    signed = own.sign(encode_picture(picture, RECIPE, "PNG"), "image/png", RECIPE)
    (manifest,) = read(signed, "image/png")["manifests"].values()
    assert manifest["signature_info"]["alg"] == algorithm
    report = own.verify(signed)
    assert (report.valid, report.ours, report.signer) == (True, True, "signer")
    assert not ours.verify(signed).ours


def test_c2pas_own_purpose_and_old_key_files_are_taken(files):
    purpose = x509.ObjectIdentifier("1.3.6.1.4.1.62558.2.1")
    key, chain = chain_of(ec.generate_private_key(ec.SECP256R1()), purpose=purpose)
    old = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    assert isinstance(files(chain, old), Credentials)


def test_another_certificate_of_the_same_issuer_is_not_ours(files, picture):
    authority = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    pairs = [
        chain_of(ec.generate_private_key(ec.SECP256R1()), authority=authority) for _ in range(2)
    ]
    first, second = (files(chain, pem(key)) for key, chain in pairs)
    signed = first.sign(encode_picture(picture, RECIPE, "PNG"), "image/png", RECIPE)
    assert first.verify(signed).ours
    assert second.verify(signed).valid
    assert not second.verify(signed).ours


KEY, CHAIN = chain_of(ec.generate_private_key(ec.SECP256R1()))
OTHER = ec.generate_private_key(ec.SECP256R1())
LOCKED = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word"))
END = b"-----END CERTIFICATE-----\n"
LEAF = CHAIN.split(END)[0] + END
ROOT = CHAIN.split(END)[2] + END


@pytest.mark.parametrize(("chain", "key", "complaint"), [
    (b"rubbish", pem(KEY), r"^certificate: .*chain.pem is not a PEM certificate chain$"),
    (b"", pem(KEY), r"^certificate: .*chain.pem is not a PEM certificate chain$"),
    (CHAIN, b"rubbish", r"^certificate_key: .*key.pem is not a PEM private key$"),
    (CHAIN, CHAIN, r"^certificate_key: .*key.pem is not a PEM private key$"),
    (CHAIN, LOCKED, r"^certificate_key: .*key.pem is encrypted"),
    (CHAIN, pem(OTHER), r"^certificate_key: .*key.pem is not the key of .*chain.pem$"),
    (LEAF, pem(KEY), r"^certificate: .* holds one certificate; append that of its issuer$"),
    (LEAF + ROOT, pem(KEY), r"^certificate: .* cannot sign pictures: its issuer must stand second"),
    (chain_of(KEY, days=-1)[1], pem(KEY), r"^certificate: .* is valid only from \d{4}-.* to "),
    (chain_of(KEY, purpose=ExtendedKeyUsageOID.SERVER_AUTH)[1], pem(KEY),
     r"^certificate: .* cannot sign pictures: .*certificate is invalid"),
])  # fmt: skip
def test_bad_files_are_one_clear_line(files, chain, key, complaint):
    with pytest.raises(SettingsError, match=complaint) as caught:
        files(chain, key)
    assert "\n" not in str(caught.value)


def test_missing_files_are_one_clear_line(tmp_path):
    (tmp_path / "chain.pem").write_bytes(CHAIN)
    chain, none = tmp_path / "chain.pem", tmp_path / "none.pem"
    for certificate, key, complaint in (
        (none, chain, "certificate: there is no .*none.pem"),
        (chain, none, "certificate_key: there is no .*none.pem"),
        (chain, None, "certificate_key: is not set, and certificate is; set both or neither"),
        (None, chain, "certificate: is not set, and certificate_key is; set both or neither"),
        (tmp_path, chain, "certificate: cannot read"),
    ):
        with pytest.raises(SettingsError, match=complaint):
            Credentials.open(tmp_path, certificate, key)
    with pytest.raises(SettingsError, match=r"certificate: cannot write .*credentials.pem"):
        Credentials.open(chain)  # a file where the folder should be
