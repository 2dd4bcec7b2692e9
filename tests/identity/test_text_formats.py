"""PEM, DER, PKCS#7, base64 and text: what openssl and people make of one identity."""

from __future__ import annotations

import base64
import itertools
import re

import pytest

import mtls_client as mtls
from mtls_client import Identity
from mtls_client.testing import CA
from tests.components import require
from tests.identity.conftest import PASSWORD, Files, der, run


@pytest.fixture(scope="module")
def openssl() -> str:
    return require("openssl", "apt-get install openssl")


def test_every_order_of_blocks_gives_the_same_identity(rsa: Files) -> None:
    parts = [rsa.key.read_bytes(), rsa.certificate.read_bytes()]
    parts += [b"-----BEGIN" + part for part in rsa.chain.read_bytes().split(b"-----BEGIN") if part]
    assert len(parts) == 4
    for order in itertools.permutations(parts):
        identity = Identity.from_pem(b"".join(order))
        assert identity.certificate == rsa.identity.certificate
        assert identity.chain == rsa.identity.chain


@pytest.mark.parametrize("kind", ["rsa", "ec"])
@pytest.mark.parametrize("form", ["pkcs8", "traditional"])
def test_plain_keys(form: str, kind: str, openssl: str, request: pytest.FixtureRequest) -> None:
    """PKCS#8, PKCS#1 and SEC1, as PEM and as DER."""
    files: Files = request.getfixturevalue(kind)
    options = ["-traditional"] if form == "traditional" else []
    for encoding in ("PEM", "DER"):
        key = run(openssl, "pkey", "-in", files.key, *options, "-outform", encoding)
        assert (b"BEGIN PRIVATE KEY" in key) == (form == "pkcs8" and encoding == "PEM")
        identity = Identity.from_key_pair(files.certificate.read_bytes(), key)
        assert identity.fingerprint == files.identity.fingerprint


@pytest.mark.parametrize("encoding", ["PEM", "DER"])
@pytest.mark.parametrize(
    "cipher",
    [
        ("-v2", "aes-128-cbc"),
        ("-v2", "aes-192-cbc"),
        ("-v2", "aes-256-cbc", "-v2prf", "hmacWithSHA512"),
        ("-v2", "des3"),
        ("-v1", "PBE-SHA1-3DES"),
        ("-v1", "PBE-SHA1-RC2-40"),
        ("-v1", "PBE-MD5-DES"),
        ("-scrypt",),
    ],
    ids=" ".join,
)
def test_encrypted_pkcs8(cipher: tuple[str, ...], encoding: str, openssl: str, rsa: Files) -> None:
    key = run(
        *(openssl, "pkcs8", "-topk8", "-in", rsa.key, *cipher, "-outform", encoding),
        *("-provider", "legacy", "-provider", "default", "-passout", f"pass:{PASSWORD}"),
    )
    certificate = rsa.certificate.read_bytes()
    identity = Identity.from_key_pair(certificate, key, password=PASSWORD)
    assert identity.fingerprint == rsa.identity.fingerprint
    for password, code in ((None, "password_needed"), ("wrong", "password_wrong")):
        with pytest.raises(mtls.PasswordError) as caught:
            Identity.from_key_pair(certificate, key, password=password)
        assert caught.value.code == code


@pytest.mark.parametrize("cipher", ["-des3", "-aes128", "-aes256"])
def test_keys_that_pem_encrypts(cipher: str, openssl: str, rsa: Files) -> None:
    key = run(
        *(openssl, "rsa", "-in", rsa.key, "-traditional", cipher),
        *("-passout", f"pass:{PASSWORD}"),
    )
    assert b"DEK-Info" in key
    data = rsa.certificate.read_bytes() + key
    assert Identity.from_pem(data, password=PASSWORD).fingerprint == rsa.identity.fingerprint
    for password, code in ((None, "password_needed"), ("wrong", "password_wrong")):
        with pytest.raises(mtls.PasswordError) as caught:
            Identity.from_pem(data, password=password)
        assert caught.value.code == code


@pytest.mark.parametrize(
    "arguments",
    [("rsa", "-traditional", "-aes192"), ("pkcs8", "-topk8", "-v2", "camellia-256-cbc")],
)
def test_a_cipher_nobody_reads_is_not_called_a_wrong_password(
    arguments: tuple[str, ...], openssl: str, rsa: Files
) -> None:
    key = run(openssl, arguments[0], "-in", rsa.key, *arguments[1:], "-passout", "pass:x")
    with pytest.raises(mtls.IdentityFormatError) as caught:
        Identity.from_pem(key, password="x")
    assert caught.value.code == "unsupported_cipher"


@pytest.mark.parametrize("encoding", ["PEM", "DER"])
def test_pkcs7_chains(encoding: str, openssl: str, rsa: Files) -> None:
    bundle = run(
        *(openssl, "crl2pkcs7", "-nocrl", "-outform", encoding),
        *("-certfile", rsa.chain, "-certfile", rsa.certificate),
    )
    identity = Identity.from_key_pair(bundle, rsa.key.read_bytes())
    assert identity.certificate == rsa.identity.certificate
    assert identity.chain == rsa.identity.chain


def test_der_files_one_after_the_other(rsa: Files) -> None:
    certificate, key = der(rsa.identity)
    identity = Identity.from_pem(certificate + key + b"\r\nthe end\n")
    assert identity.fingerprint == rsa.identity.fingerprint


@pytest.mark.parametrize("encode", [base64.b64encode, base64.encodebytes])
def test_base64_of_everything(encode: object, openssl: str, rsa: Files, ec: Files) -> None:
    assert callable(encode)
    certificate, key = der(ec.identity)
    loaded = Identity.from_key_pair(encode(certificate), encode(key))
    assert loaded.fingerprint == ec.identity.fingerprint
    bundle = run(
        *(openssl, "pkcs12", "-export", "-inkey", rsa.key, "-in", rsa.certificate),
        *("-passout", f"pass:{PASSWORD}"),
    )
    loaded = Identity.from_pkcs12(encode(bundle), password=PASSWORD)
    assert loaded.fingerprint == rsa.identity.fingerprint
    loaded = Identity.from_pem(encode(rsa.everything))
    assert loaded.fingerprint == rsa.identity.fingerprint


def test_text_around_the_blocks(openssl: str, rsa: Files) -> None:
    described = run(openssl, "x509", "-in", rsa.certificate, "-text")
    assert b"Signature Algorithm" in described
    data = b"our certificate:\n" + described + b"\nits key:\n" + rsa.key.read_bytes() + b"\nbye"
    assert Identity.from_pem(data).fingerprint == rsa.identity.fingerprint


def test_bag_attributes_name_the_identity(openssl: str, rsa: Files, ec: Files) -> None:
    texts = []
    for files, label in ((rsa, "first one"), (ec, "second")):
        bundle = run(
            *(openssl, "pkcs12", "-export", "-inkey", files.key, "-in", files.certificate),
            *("-name", label, "-passout", "pass:x"),
        )
        texts.append(run(openssl, "pkcs12", "-nodes", "-passin", "pass:x", stdin=bundle))
    assert b"Bag Attributes" in texts[0]
    selected = Identity.from_pem(b"".join(texts), select="first one")
    assert selected.fingerprint == rsa.identity.fingerprint


def test_a_trusted_certificate_of_openssl(openssl: str, rsa: Files) -> None:
    trusted = run(openssl, "x509", "-in", rsa.certificate, "-trustout", "-addtrust", "clientAuth")
    assert b"BEGIN TRUSTED CERTIFICATE" in trusted
    identity = Identity.from_key_pair(trusted, rsa.key.read_bytes())
    assert identity.fingerprint == rsa.identity.fingerprint


def test_parameters_beside_an_ec_key(openssl: str, issuing_ca: CA) -> None:
    text = run(openssl, "ecparam", "-name", "prime256v1", "-genkey")
    assert b"BEGIN EC PARAMETERS" in text
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(text[text.index(b"-----BEGIN EC PRIVATE") :], None)
    identity = issuing_ca.issue("made elsewhere", key=key)  # type: ignore[arg-type]
    assert Identity.from_pem(text + identity.certificate_pem()).subject == identity.subject


@pytest.mark.parametrize(
    "mangle",
    [
        lambda pem: pem.replace(b"\n", b"\r\n"),
        lambda pem: b"\xef\xbb\xbf" + pem,
        lambda pem: pem.decode().encode("utf-16"),
        lambda pem: pem.decode().encode("utf-16-le"),
        lambda pem: b"    " + pem.replace(b"\n", b"\n    "),
        lambda pem: pem.replace(b"-----\n", b"----- \n"),
        lambda pem: b" ".join(pem.split(b"\n")),
    ],
    ids=["CRLF", "BOM", "UTF-16", "UTF-16 without BOM", "indented", "trailing space", "one line"],
)
def test_what_editors_and_yaml_do_to_pem(mangle: object, rsa: Files) -> None:
    assert callable(mangle)
    identity = Identity.from_pem(mangle(rsa.everything))
    assert identity.fingerprint == rsa.identity.fingerprint
    # what OpenSSL will be given is proper PEM again
    again = Identity.from_pem(identity.private_key_pem() + identity.certificate_pem())
    assert again.chain == identity.chain[:1]


def test_text_may_be_a_str(rsa: Files) -> None:
    loaded = Identity.from_pem(rsa.everything.decode())
    assert loaded.fingerprint == rsa.identity.fingerprint


OTHER_THINGS = {
    "certificate request": b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n"
    b"-----END CERTIFICATE REQUEST-----\n",
    "certificate revocation list": b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
    "public key": b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    "OpenSSH": b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
    "PGP": b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nAAAA\n-----END PGP PRIVATE KEY BLOCK-----\n",
    "SSH public key": b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 me@example.com\n",
    "PuTTY": b"PuTTY-User-Key-File-3: ssh-ed25519\n",
    "web page": b"<!DOCTYPE html><html><body>404</body></html>",
    "JSON": b'{"errors": ["permission denied"]}',
}


@pytest.mark.parametrize("what", OTHER_THINGS)
def test_other_things_are_called_by_their_names(what: str) -> None:
    with pytest.raises(mtls.IdentityError, match=what):
        Identity.from_pem(OTHER_THINGS[what])


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (("req", "-new", "-subj", "/CN=x", "-outform", "DER", "-key"), "certificate request"),
        (("pkey", "-pubout", "-outform", "DER", "-in"), "public key"),
        (("rsa", "-RSAPublicKey_out", "-outform", "DER", "-in"), "public key"),
    ],
)
def test_binary_things_are_called_by_their_names(
    command: tuple[str, ...], what: str, openssl: str, rsa: Files
) -> None:
    with pytest.raises(mtls.IdentityError, match=f"it holds {what}"):
        Identity.from_pem(run(openssl, *command, rsa.key))


def test_a_binary_crl_is_called_by_its_name(issuing_ca: CA) -> None:
    lines = issuing_ca.crl().decode().splitlines()
    with pytest.raises(mtls.IdentityError, match="certificate revocation list"):
        Identity.from_pem(base64.b64decode("".join(lines[1:-1])))


@pytest.mark.parametrize("data", [b"", b"\n \t\r\n", b"\xef\xbb\xbf", b"\xff\xfe"])
def test_empty_files_are_called_empty(data: bytes) -> None:
    with pytest.raises(mtls.IdentityFormatError) as caught:
        Identity.from_pem(data)
    assert caught.value.code == "empty"


def test_half_a_pem_file_is_called_truncated(rsa: Files) -> None:
    """Wherever it is cut inside a block, from either end."""
    data = rsa.everything
    for block in re.finditer(rb"-----BEGIN .*?-----END [A-Z ]+", data, re.DOTALL):
        for cut in range(block.start() + 12, block.end() - 3, 97):
            for part in (data[:cut], data[cut:]):
                with pytest.raises(mtls.IdentityFormatError) as caught:
                    Identity.from_pem(part)
                assert caught.value.code == "truncated"


def test_half_a_der_file_is_called_truncated(rsa: Files) -> None:
    certificate, key = der(rsa.identity)
    for data in (certificate[:-1], certificate[:500], key[:-1], key[:3]):
        with pytest.raises(mtls.IdentityFormatError) as caught:
            Identity.from_pem(data)
        assert caught.value.code == "truncated"
