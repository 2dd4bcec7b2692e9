"""No bytes raise anything but MTLSError, take long, warn, or leak a key into a message."""

from __future__ import annotations

import base64
import os
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

import mtls_client as mtls
from mtls_client import Identity
from mtls_client._formats.der import spki
from mtls_client.testing import CA
from tests.components import require
from tests.identity.conftest import PASSWORD, Files, der, run
from tests.identity.secrecy import assert_silent


@dataclass(frozen=True, repr=False)
class Sample:
    """Bytes that hold an identity, and what must never be seen of them."""

    data: bytes
    password: str | None
    secrets: tuple[str | bytes, ...]


@pytest.fixture(scope="module")
def samples(rsa: Files, ec: Files, tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    folder, found = tmp_path_factory.mktemp("samples"), []
    for files in (rsa, ec):
        certificate, key = der(files.identity)
        lines = files.key.read_text().splitlines()[1:-1]
        secrets = (PASSWORD, key[40:80], *lines)
        files.identity.save_pem(folder / "locked.pem", password=PASSWORD)
        files.identity.save_pkcs12(folder / "locked.p12", password=PASSWORD)
        files.identity.save_pkcs12(folder / "plain.p12", password=None)
        plain = (folder / "plain.p12").read_bytes()
        for data, password in (
            (files.everything, None),
            (certificate + key, None),
            ((folder / "locked.pem").read_bytes(), PASSWORD),
            ((folder / "locked.p12").read_bytes(), PASSWORD),
            (plain, None),
            (base64.encodebytes(plain), None),
        ):
            loaded = Identity.from_pem(data, password=password)
            assert loaded.fingerprint == files.identity.fingerprint
            found.append(Sample(data, password, secrets))
    return found


def assert_loads_or_refuses(sample: Sample, data: bytes, password: str | None) -> None:
    try:
        identity = Identity.from_pem(data, password=password)
    except mtls.MTLSError as error:
        assert_silent(error, *sample.secrets)
        return
    # all that can be asked of it can be answered
    assert f"{identity.serial}" in repr(identity)
    assert identity.pin.startswith("sha256/")
    _ = identity.san_dns, identity.san_uri, identity.key_bits, identity.usable_for_client_auth
    assert identity.certificate_pem()
    assert identity.private_key_pem()
    try:
        identity.require_usable()
    except mtls.IdentityError as error:
        assert_silent(error, *sample.secrets)


EDIT = st.tuples(
    st.sampled_from(["change", "remove", "insert", "cut", "copy"]),
    st.integers(0, 4000),
    st.binary(min_size=1, max_size=40),
)


def edited(data: bytes, others: list[Sample], edit: tuple[str, int, bytes]) -> bytes:
    kind, position, new = edit
    at = position % (len(data) + 1)
    match kind:
        case "change":
            return data[:at] + new[:1] + data[at + 1 :]
        case "remove":
            return data[:at] + data[at + len(new) :]
        case "insert":
            return data[:at] + new + data[at:]
        case "copy":
            return data[:at] + others[new[0] % len(others)].data[at : at + 400] + data[at:]
    return data[:at]


@settings(max_examples=400, deadline=2000)
@given(which=st.integers(0, 11), edits=st.lists(EDIT, min_size=1, max_size=4), right=st.booleans())
def test_mutations(
    samples: list[Sample], which: int, edits: list[tuple[str, int, bytes]], right: bool
) -> None:
    """Bytes changed, removed, inserted, cut off and copied from elsewhere, in every format."""
    data = samples[which].data
    for edit in edits:
        data = edited(data, samples, edit)
    assert_loads_or_refuses(samples[which], data, samples[which].password if right else "wrong")


@settings(max_examples=100, deadline=2000)
@given(data=st.data())
def test_blocks_in_any_order_with_garbage_between_them(rsa: Files, data: st.DataObject) -> None:
    blocks = [b"-----BEGIN" + one for one in rsa.everything.split(b"-----BEGIN")[1:]]
    text = b""
    for block in data.draw(st.permutations(blocks)):
        garbage = data.draw(st.binary(max_size=60)).replace(b"-----", b"").replace(b"\0", b" ")
        text += b"x" + garbage + b"\n" + block
    assert Identity.from_pem(text).chain == rsa.identity.chain


@settings(max_examples=200)
@given(data=st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    for prefix in (b"", b"\x30", b"\x30\x80", b"\x30\x82\x01\x00\x02\x01\x03", b"-----BEGIN "):
        with pytest.raises(mtls.MTLSError):
            Identity.from_pem(prefix + data, password=PASSWORD)


@settings(max_examples=200)
@given(data=st.data())
def test_a_public_key_is_found_or_the_bytes_are_refused(ec: Files, data: st.DataObject) -> None:
    certificate = bytearray(ec.identity.certificate.public_bytes(Encoding.DER))
    at = data.draw(st.integers(0, len(certificate) - 1))
    certificate[at] = data.draw(st.integers(0, 255))
    cut = bytes(certificate[: data.draw(st.integers(0, len(certificate)))])
    for candidate in (bytes(certificate), cut):
        try:
            found = spki(candidate)
        except ValueError:
            continue
        assert found in candidate


def sequence(*parts: bytes) -> bytes:
    return tagged(0x30, b"".join(parts))


def tagged(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 128:
        return bytes([tag, length]) + content
    size = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + length.to_bytes(size, "big") + content


def number(value: int) -> bytes:
    return tagged(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def identifier(content: str) -> bytes:
    return tagged(0x06, bytes.fromhex(content))


def pbes2(derivation: str, *numbers: int) -> bytes:
    """Return an algorithm identifier (RFC 8018 appendix A.4) that asks for this much work."""
    parameters = sequence(tagged(0x04, b"some salt"), *map(number, numbers))
    return sequence(
        identifier("2a864886f70d01050d"),
        sequence(
            sequence(identifier(derivation), parameters),
            sequence(identifier("60864801650304012a"), tagged(0x04, bytes(16))),
        ),
    )


def encrypted_key(algorithm: bytes) -> bytes:
    return sequence(algorithm, tagged(0x04, bytes(64)))


def pfx(safe: bytes, rounds: int = 1, *, pieces: int = 0) -> bytes:
    """Return a PKCS#12 file around one ContentInfo; in pieces, as BER may be."""
    content = sequence(safe)
    octets = tagged(0x04, content)
    if pieces:
        cut = [content[at : at + pieces] for at in range(0, len(content), pieces)]
        octets = tagged(0x24, b"".join(tagged(0x04, piece) for piece in cut))
    data = sequence(identifier("2a864886f70d010701"), tagged(0xA0, octets))
    digest = sequence(sequence(identifier("2b0e03021a")), tagged(0x04, bytes(20)))
    return sequence(number(3), data, sequence(digest, tagged(0x04, b"salt"), number(rounds)))


PBKDF2, SCRYPT = "2a864886f70d01050c", "2b06010401da47040b"
BILLION = 10**9
SEALED = sequence(identifier("2a864886f70d010706"), pbes2(PBKDF2, BILLION))
EMPTY = sequence(identifier("2a864886f70d010701"), tagged(0xA0, tagged(0x04, sequence())))


def armored(key: bytes) -> bytes:
    lines = base64.encodebytes(key)
    return b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n%b-----END ENCRYPTED PRIVATE KEY-----\n" % lines


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "data",
    [
        encrypted_key(pbes2(PBKDF2, BILLION)),
        armored(encrypted_key(pbes2(PBKDF2, BILLION))),
        encrypted_key(pbes2(PBKDF2, 1 << 100_000)),
        encrypted_key(pbes2(SCRYPT, 1 << 30, 8, 1)),
        encrypted_key(pbes2(SCRYPT, 1 << 10, 8, 1 << 20)),
        encrypted_key(pbes2(SCRYPT, *[1 << 30_000_000] * 3)),
        pfx(EMPTY, BILLION),
        pfx(SEALED),
        pfx(SEALED, pieces=7),
    ],
    ids=[
        "PBKDF2",
        "in PEM",
        "a number too long to print",
        "scrypt's memory",
        "scrypt's time",
        "numbers too large to multiply",
        "MAC",
        "sealed",
        "sealed, in pieces",
    ],
)
def test_a_key_derivation_that_would_take_minutes_is_refused(data: bytes) -> None:
    with pytest.raises(mtls.IdentityFormatError) as caught:
        Identity.from_pem(data, password="x")
    assert caught.value.code == "kdf_rounds"


@pytest.mark.timeout(60)
def test_many_keys_together_get_no_more_work_than_one(ec: Files) -> None:
    openssl = require("openssl", "apt-get install openssl")
    locked = run(
        *(openssl, "pkcs8", "-topk8", "-in", ec.key, "-iter", "3000000"),
        *("-passout", f"pass:{PASSWORD}"),
    )
    data = ec.certificate.read_bytes() + locked
    assert Identity.from_pem(data, password=PASSWORD).subject == ec.identity.subject
    with pytest.raises(mtls.IdentityFormatError) as caught:
        Identity.from_pem(data + locked * 3, password=PASSWORD)
    assert caught.value.code == "kdf_rounds"


LARGE = {
    "BEGIN lines": b"-----BEGIN A-----\n" * 800_000,
    "empty blocks": b"-----BEGIN A-----\n-----END A-----\n" * 400_000,
    "blocks that are skipped": b"-----BEGIN EC PARAMETERS-----\n-----END EC PARAMETERS-----\n"
    * 250_000,
    "spaces in base64": b"AAAA" + b" " * 15_000_000 + b"!",
    "empty sequences": b"\x30\x00" * 7_500_000,
    "nested BER": b"\x30\x80" * 7_500_000,
    "labels": b"friendlyName: " * 1_000_000 + b"-----BEGIN A-----",
    "dashes": b"-" * 15_000_000,
    "a label without end": b"-----BEGIN " + b"A " * 7_500_000,
    "numbers without end": sequence(*[number((1 << 8_000_000) - 1)] * 9),
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", LARGE)
def test_large_files_are_refused_in_time(name: str) -> None:
    with pytest.raises(mtls.MTLSError):
        Identity.from_pem(LARGE[name], password="x")


@pytest.mark.timeout(30)
def test_too_many_certificates_are_refused(ec: Files) -> None:
    with pytest.raises(mtls.IdentityFormatError) as caught:
        Identity.from_pem(ec.everything + ec.certificate.read_bytes() * 5000)
    assert caught.value.code == "too_many"


@pytest.mark.timeout(30)
def test_a_thousand_issuers_of_one_name_are_searched_in_time(issuing_ca: CA, ec: Files) -> None:
    wrong = [CA("Issuing").certificate for _ in range(300)]
    loaded = Identity.from_key_pair(
        ec.identity.certificate, ec.identity.private_key, chain=[*wrong, issuing_ca.certificate]
    )
    assert loaded.chain == (issuing_ca.certificate,)
    assert len(loaded.notes) == 300


def test_a_short_initialisation_vector_is_refused(rsa: Files) -> None:
    """cryptography 50 panics over it."""
    openssl = require("openssl", "apt-get install openssl")
    key = run(openssl, "rsa", "-in", rsa.key, "-traditional", "-aes128", "-passout", "pass:x")
    start = key.index(b"DEK-Info: AES-128-CBC,") + len("DEK-Info: AES-128-CBC,")
    with pytest.raises(mtls.IdentityFormatError):
        Identity.from_pem(key[: start + 8] + key[start + 32 :], password="x")


@pytest.fixture
def odd_identity(rsa: Files) -> bytes:
    """A serial number of zero and a country of three letters: cryptography warns of both."""
    openssl = require("openssl", "apt-get install openssl")
    # openssl itself refuses such a country; a number has the same length as two letters and one
    request = run(openssl, "req", "-new", "-key", rsa.key, "-subj", "/O=XXX/CN=odd")
    signed = run(
        *(openssl, "x509", "-req", "-days", "2", "-signkey", rsa.key, "-set_serial", "0"),
        *(
            "-outform",
            "DER",
        ),
        stdin=request,
    )
    organisation, country = bytes.fromhex("060355040a"), bytes.fromhex("0603550406")
    return signed.replace(organisation, country)


def test_what_cryptography_warns_of_is_loaded_in_silence(odd_identity: bytes, rsa: Files) -> None:
    key = rsa.key.read_bytes()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        identity = Identity.from_key_pair(odd_identity, key)
        assert (identity.serial, identity.subject) == ("0", "CN=odd,C=XXX")
        assert "serial 0" in repr(identity)
        identity.require_usable()
    assert caught == []
    # and where warnings are errors, which they are in these tests
    with pytest.raises(mtls.AmbiguousIdentityError, match="serial 0"):
        Identity.from_pem(
            odd_identity
            + rsa.identity.certificate.public_bytes(Encoding.DER)
            + der(rsa.identity)[1]
        )


def test_loading_in_threads_leaves_the_warning_filters_alone(rsa: Files) -> None:
    before = list(warnings.filters)
    done = []

    def load() -> None:
        for _ in range(50):
            done.append(Identity.from_pem(rsa.everything))

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(done) == 400
    assert list(warnings.filters) == before


FORKING = """
import os, signal, sys
from mtls_client import FileSource
from mtls_client._formats import parsing
with parsing._lock:
    child = os.fork()
    if child == 0:
        signal.alarm(5)
        FileSource(sys.argv[1], sys.argv[2]).load()
        os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on Windows")
def test_a_child_can_load_although_a_thread_was_loading_when_it_was_forked(ec: Files) -> None:
    run(sys.executable, "-c", FORKING, ec.certificate, ec.key)


def test_a_certificate_with_a_malformed_extension_is_refused(rsa: Files) -> None:
    """What cryptography parses only when asked is asked for before there is an identity."""
    key = rsa.identity.private_key
    names = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x05nonsense")
    malformed = (
        x509.CertificateBuilder()
        .subject_name(rsa.identity.certificate.subject)
        .issuer_name(rsa.identity.certificate.issuer)
        .public_key(rsa.identity.certificate.public_key())
        .serial_number(1)
        .not_valid_before(rsa.identity.not_before)
        .not_valid_after(rsa.identity.not_after)
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())  # type: ignore[arg-type]
    )
    with pytest.raises(mtls.IdentityFormatError, match="extension") as caught:
        Identity(malformed, key)
    assert caught.value.code == "damaged"


@pytest.mark.parametrize(
    "load",
    [
        lambda data: Identity.from_key_pair(data, data),
        lambda data: Identity.from_key_pair(data, data, chain=[data]),
    ],
)
def test_from_key_pair_refuses_as_well(load: Callable[[bytes], Identity]) -> None:
    for data in (b"", b"\x30\x00", b"hello", b"-----BEGIN CERTIFICATE-----\n"):
        with pytest.raises(mtls.MTLSError):
            load(data)


def test_the_watch_for_secrets_sees_one(rsa: Files) -> None:
    """A control: in a message, in a hint, and in what an error was raised from."""
    line = rsa.key.read_text().splitlines()[3]
    leaks: list[Exception] = [mtls.IdentityError(line), mtls.IdentityError("x", hint=PASSWORD)]
    chained = mtls.IdentityError("x")
    chained.__cause__ = ValueError(line[:50])
    for error in (*leaks, chained):
        with pytest.raises(AssertionError):
            assert_silent(error, PASSWORD)
