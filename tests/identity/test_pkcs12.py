"""PKCS#12 as openssl, Java's keytool, NSS, GnuTLS and cryptography write it."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import mtls_client as mtls
from mtls_client import FileSource, Identity
from tests.components import require
from tests.identity.conftest import PASSWORD, Files, run

UNICODE = "пароль-é€"


@pytest.fixture(scope="module")
def openssl() -> str:
    return require("openssl", "apt-get install openssl")


@pytest.fixture(scope="module")
def keytool() -> str:
    return require("keytool", "apt-get install default-jre-headless")


@pytest.fixture(scope="module")
def modern(openssl: str, rsa: Files) -> Path:
    """The RSA identity with its chain and the label `client one`, as openssl writes it today."""
    path = rsa.path("modern.p12")
    run(*exported(openssl, rsa), "-name", "client one", "-out", path)
    path.chmod(0o600)
    return path


def exported(openssl: str, files: Files, password: str = PASSWORD) -> tuple[str | Path, ...]:
    return (
        *(openssl, "pkcs12", "-export", "-inkey", files.key, "-in", files.certificate),
        *("-certfile", files.chain, "-passout", f"pass:{password}"),
    )


def assert_loads(data: bytes, files: Files, password: str | None, *, chain: bool = True) -> None:
    identity = Identity.from_pkcs12(data, password=password)
    assert identity.fingerprint == files.identity.fingerprint
    if chain:
        assert identity.chain == files.identity.chain


def assert_locked(data: bytes) -> None:
    """With a wrong password or none, the error says which of the two it was."""
    for password, code in (("wrong", "password_wrong"), (None, "password_needed")):
        with pytest.raises(mtls.PasswordError) as caught:
            Identity.from_pkcs12(data, password=password)
        assert caught.value.code == code


@pytest.mark.parametrize("kind", ["rsa", "ec"])
@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-legacy",),
        ("-legacy", "-certpbe", "PBE-SHA1-3DES", "-keypbe", "PBE-SHA1-3DES", "-macalg", "sha1"),
        ("-legacy", "-certpbe", "PBE-SHA1-RC4-128", "-keypbe", "PBE-SHA1-RC4-40"),
        ("-keypbe", "AES-256-CBC", "-macalg", "sha256", "-CSP", "Microsoft RSA and AES Provider"),
        ("-iter", "600000", "-macalg", "sha512"),
        ("-nomac",),
        ("-keypbe", "NONE", "-certpbe", "NONE"),
    ],
    ids=lambda options: " ".join(options) or "default",
)
def test_openssl(
    options: tuple[str, ...], kind: str, openssl: str, request: pytest.FixtureRequest
) -> None:
    files: Files = request.getfixturevalue(kind)
    data = run(*exported(openssl, files), *options)
    assert_loads(data, files, PASSWORD)
    assert_locked(data)


@pytest.mark.parametrize("password", ["", None])
@pytest.mark.parametrize(
    "options",
    [(), ("-nomac", "-keypbe", "NONE", "-certpbe", "NONE"), ("-keypbe", "NONE")],
    ids=" ".join,
)
def test_an_empty_password_and_none_are_the_same_to_people(
    options: tuple[str, ...], password: str | None, openssl: str, rsa: Files
) -> None:
    assert_loads(run(*exported(openssl, rsa, ""), *options), rsa, password)


def test_a_password_of_any_script(openssl: str, rsa: Files) -> None:
    data = run(*exported(openssl, rsa, UNICODE))
    assert_loads(data, rsa, UNICODE)
    assert_loads(data, rsa, UNICODE.encode())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "flag",
    [
        "",
        "-J-Dkeystore.pkcs12.legacy",
        "-J-Dkeystore.pkcs12.macAlgorithm=NONE",
        "-J-Dkeystore.pkcs12.certProtectionAlgorithm=NONE",
    ],
)
def test_keytool(flag: str, keytool: str, modern: Path, rsa: Files, tmp_path: Path) -> None:
    made = tmp_path / "java.p12"
    run(
        *(keytool, *([flag] if flag else []), "-importkeystore", "-noprompt"),
        *("-srckeystore", modern, "-srcstoretype", "PKCS12", "-srcstorepass", PASSWORD),
        *("-destkeystore", made, "-deststoretype", "PKCS12", "-deststorepass", PASSWORD),
    )
    assert_loads(made.read_bytes(), rsa, PASSWORD)
    assert_locked(made.read_bytes())


def test_two_identities_of_keytool(keytool: str, modern: Path, rsa: Files, tmp_path: Path) -> None:
    """cryptography would give the first and call the second one's certificate a chain."""
    path = tmp_path / "two.p12"
    path.write_bytes(modern.read_bytes())
    run(
        *(keytool, "-genkeypair", "-alias", "second", "-keyalg", "EC", "-groupname", "secp256r1"),
        *("-dname", "CN=second", "-keystore", path, "-storetype", "PKCS12"),
        *("-storepass", PASSWORD),
    )
    data = path.read_bytes()
    with pytest.raises(mtls.AmbiguousIdentityError) as caught:
        Identity.from_pkcs12(data, password=PASSWORD)
    for shown in (rsa.identity.fingerprint, rsa.identity.serial, "CN=second", "'client one'"):
        assert shown in str(caught.value)
    second = Identity.from_pkcs12(data, password=PASSWORD, select="second")
    assert (second.subject, second.chain) == ("CN=second", ())
    first = Identity.from_pkcs12(data, password=PASSWORD, select="client one")
    assert first.fingerprint == rsa.identity.fingerprint


@pytest.mark.parametrize("kind", ["JKS", "JCEKS"])
def test_a_java_keystore_is_answered_with_the_command_that_converts_it(
    kind: str, keytool: str, modern: Path, rsa: Files, tmp_path: Path
) -> None:
    path = tmp_path / "our keys.jks"
    run(
        *(keytool, "-importkeystore", "-noprompt", "-srckeystore", modern),
        *("-srcstorepass", PASSWORD, "-destkeystore", path, "-deststoretype", kind),
        *("-deststorepass", PASSWORD, "-destkeypass", PASSWORD),
    )
    with pytest.raises(mtls.IdentityFormatError) as caught:
        FileSource(path, password=PASSWORD).load()
    assert caught.value.code == "java_keystore"
    command = shlex.split((caught.value.hint or "").removeprefix("convert it: "))
    assert command[3] == str(path)
    converted = tmp_path / "NEW.p12"
    command[0], command[command.index("NEW.p12")] = keytool, str(converted)
    run(*command, "-srcstorepass", PASSWORD, "-deststorepass", PASSWORD)
    assert_loads(converted.read_bytes(), rsa, PASSWORD)


@pytest.fixture(scope="module")
def nss(modern: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    """Export the identity from an NSS database, as Firefox does, in BER."""
    install = "apt-get install libnss3-tools"
    certutil, pk12util = require("certutil", install), require("pk12util", install)
    database = f"sql:{tmp_path_factory.mktemp('nss')}"
    run(certutil, "-N", "-d", database, "--empty-password")
    run(pk12util, "-i", modern, "-d", database, "-W", PASSWORD, "-K", "")

    def export(*options: str, password: str = PASSWORD) -> bytes:
        path = Path(database.removeprefix("sql:")) / "exported.p12"
        run(
            *(pk12util, "-o", path, "-n", "client one", "-d", database, *options),
            *("-W", password, "-K", ""),
        )
        data = path.read_bytes()
        assert data[:2] == b"\x30\x80"  # BER: of indefinite length
        return data

    return export


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-c", "AES-256-CBC", "-C", "AES-256-CBC"),
        (
            *("-c", "PKCS #12 V2 PBE With SHA-1 And 3KEY Triple DES-CBC"),
            *("-C", "PKCS #12 V2 PBE With SHA-1 And 40 Bit RC2 CBC"),
        ),
    ],
    ids=["default", "AES", "3DES and RC2"],
)
def test_nss(options: tuple[str, ...], nss: Callable[..., bytes], rsa: Files) -> None:
    data = nss(*options)
    assert_loads(data, rsa, PASSWORD, chain=False)
    assert_locked(data)


def test_nss_with_an_empty_password(nss: Callable[..., bytes], rsa: Files) -> None:
    assert_loads(nss(password=""), rsa, None, chain=False)


@pytest.mark.parametrize(
    "cipher", ["3des-pkcs12", "rc2-40", "arcfour", "aes-128", "aes-256", "--null-password"]
)
@pytest.mark.parametrize("encoding", ["DER", "PEM"])
def test_gnutls(encoding: str, cipher: str, rsa: Files) -> None:
    certtool = require("certtool", "apt-get install gnutls-bin")
    null = cipher.startswith("--")
    data = run(
        *(certtool, "--load-privkey", rsa.key, "--load-certificate", rsa.certificate),
        *("--load-ca-certificate", rsa.chain, "--to-p12", "--p12-name=gn"),
        *(["--outder"] if encoding == "DER" else []),
        *([cipher] if null else [f"--pkcs-cipher={cipher}", f"--password={PASSWORD}"]),
    )
    assert (b"BEGIN PKCS12" in data) == (encoding == "PEM")
    assert_loads(data, rsa, None if null else PASSWORD, chain=False)
    if not null:
        assert_locked(data)


def test_what_we_write_ourselves(rsa: Files, tmp_path: Path) -> None:
    path = tmp_path / "ours.p12"
    rsa.identity.save_pkcs12(path, password=UNICODE, label="ключ")
    assert_loads(path.read_bytes(), rsa, UNICODE)
    labelled = Identity.from_pkcs12(path.read_bytes(), password=UNICODE, select="ключ")
    assert labelled.fingerprint == rsa.identity.fingerprint


@pytest.mark.parametrize(
    ("options", "name", "code"),
    [
        (("-nokeys", "-in"), "client.pem", "no_key"),
        (("-nocerts", "-inkey"), "client.key", "no_certificate"),
    ],
)
def test_half_an_identity(
    options: tuple[str, ...], name: str, code: str, openssl: str, rsa: Files
) -> None:
    data = run(
        *(openssl, "pkcs12", "-export", *options, rsa.path(name)),
        *("-passout", f"pass:{PASSWORD}"),
    )
    with pytest.raises(mtls.IdentityNotFoundError) as caught:
        Identity.from_pkcs12(data, password=PASSWORD)
    assert caught.value.code == code


def test_truncated_and_damaged(modern: Path) -> None:
    data = modern.read_bytes()
    with pytest.raises(mtls.IdentityFormatError) as caught:
        Identity.from_pkcs12(data[:900], password=PASSWORD)
    assert caught.value.code == "truncated"
    with pytest.raises(mtls.IdentityFormatError) as caught:
        Identity.from_pkcs12(data[:30] + bytes(40) + data[70:], password=PASSWORD)
    assert caught.value.code == "damaged"


LOAD = """
import sys
from mtls_client import FileSource, MTLSError
try:
    print(FileSource(sys.argv[1], password=sys.argv[2]).load().subject)
except MTLSError as error:
    print(error.code, error)
"""


def without_legacy(path: Path) -> str:
    """Load a file in a process whose OpenSSL has no legacy provider, as under FIPS."""
    env = {**os.environ, "CRYPTOGRAPHY_OPENSSL_NO_LEGACY": "1"}
    return run(sys.executable, "-W", "ignore", "-c", LOAD, path, PASSWORD, env=env).decode()


@pytest.mark.parametrize(
    ("options", "cipher"),
    [
        (("-legacy",), "RC2-40"),
        (("-legacy", "-certpbe", "PBE-SHA1-RC4-128"), "RC4-128"),
        (("-keypbe", "des-cbc", "-provider", "legacy", "-provider", "default"), "DES"),
    ],
    ids=["RC2", "RC4", "DES"],
)
def test_a_cipher_that_openssl_has_disabled_is_not_called_a_wrong_password(
    options: tuple[str, ...], cipher: str, openssl: str, rsa: Files, tmp_path: Path
) -> None:
    path = tmp_path / "old file.p12"
    path.write_bytes(run(*exported(openssl, rsa), *options))
    assert without_legacy(path).startswith(
        f"legacy_cipher {path}: the PKCS#12 file is encrypted "
        f"with {cipher}, which this OpenSSL has disabled"
    )
    # a control: it is the provider, and not the file
    assert FileSource(path, password=PASSWORD).load().subject == rsa.identity.subject


def test_a_modern_file_needs_no_legacy_provider(modern: Path, rsa: Files) -> None:
    assert without_legacy(modern).strip() == rsa.identity.subject


def test_the_command_in_the_hint_converts_it(openssl: str, rsa: Files, tmp_path: Path) -> None:
    old, new = tmp_path / "old file.p12", tmp_path / "NEW.pem"
    old.write_bytes(run(*exported(openssl, rsa), "-legacy"))
    command = re.search(r"openssl pkcs12 -legacy.*?NEW\.pem", without_legacy(old))
    assert command
    run(
        *(*shlex.split(command[0])[:-1], new, "-passin", f"pass:{PASSWORD}"),
        *("-passout", f"pass:{PASSWORD}"),
    )
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in new.read_bytes()
    assert without_legacy(new).strip() == rsa.identity.subject


def test_the_command_in_a_keys_hint_converts_it(openssl: str, rsa: Files, tmp_path: Path) -> None:
    old, new = tmp_path / "old.key", tmp_path / "NEW.key"
    old.write_bytes(
        run(
            *(openssl, "pkcs8", "-topk8", "-in", rsa.key, "-v1", "PBE-SHA1-RC2-40"),
            *("-provider", "legacy", "-provider", "default", "-passout", f"pass:{PASSWORD}"),
        )
    )
    said = without_legacy(old)
    assert said.startswith("legacy_cipher")
    command = re.search(r"openssl pkey .*?NEW\.key", said)
    assert command
    run(
        *(*shlex.split(command[0])[:-1], new, "-passin", f"pass:{PASSWORD}"),
        *("-passout", f"pass:{PASSWORD}"),
    )
    assert without_legacy(new).startswith("no_certificate")
