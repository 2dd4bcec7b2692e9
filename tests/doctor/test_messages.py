"""The parser of what strangers send: right on good messages, ValueError on all others."""

from __future__ import annotations

import contextlib
import struct

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from mtls_client._formats import names, parsing
from mtls_client.doctor.messages import certificate_request, certificates
from mtls_client.doctor.recorder import Recorder
from mtls_client.testing import CA


def vector(width: int, content: bytes) -> bytes:
    return len(content).to_bytes(width, "big") + content


def message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + vector(3, body)


def request_1_2(authorities: list[bytes], algorithms: list[int]) -> bytes:
    numbers = struct.pack(f">{len(algorithms)}H", *algorithms)
    listed = b"".join(vector(2, one) for one in authorities)
    return message(13, vector(1, b"\x01\x40") + vector(2, numbers) + vector(2, listed))


def request_1_3(authorities: list[bytes], algorithms: list[int]) -> bytes:
    numbers = vector(2, struct.pack(f">{len(algorithms)}H", *algorithms))
    listed = vector(2, b"".join(vector(2, one) for one in authorities))
    extensions = struct.pack(">H", 13) + vector(2, numbers)
    extensions += struct.pack(">H", 0xFAFA) + vector(2, b"?")  # unknown: GREASE
    extensions += struct.pack(">H", 47) + vector(2, listed)
    return message(13, vector(1, b"") + vector(2, extensions))


@given(st.lists(st.binary(max_size=40), max_size=5), st.lists(st.integers(0, 0xFFFF), max_size=9))
def test_a_request_is_read_alike(authorities: list[bytes], algorithms: list[int]) -> None:
    for made, tls13 in ((request_1_2, False), (request_1_3, True)):
        read = certificate_request(made(authorities, algorithms), tls13=tls13)
        assert read.authorities == tuple(authorities)
        assert read.signature_algorithms == tuple(algorithms)


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_certificates_are_read_alike(ders: list[bytes]) -> None:
    old = message(11, vector(3, b"".join(vector(3, one) for one in ders)))
    new = message(11, b"\0" + vector(3, b"".join(vector(3, one) + b"\0\0" for one in ders)))
    assert certificates(old, tls13=False) == certificates(new, tls13=True) == tuple(ders)


@given(st.binary(max_size=200), st.booleans())
def test_anything_is_read_or_a_value_error(data: bytes, tls13: bool) -> None:
    for parse in (certificates, certificate_request):
        try:
            parse(data, tls13=tls13)
        except ValueError:
            continue


@given(st.data())
def test_a_message_cut_short_is_an_error(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from([request_1_2([b"ab"], [1]), request_1_3([b"ab"], [1])]))
    cut = data.draw(st.integers(4, len(whole) - 1))
    with pytest.raises(ValueError, match="TLS message"):
        certificate_request(whole[:cut], tls13=whole[4] == 0)


@given(st.binary(max_size=60), st.sampled_from([11, 13]), st.sampled_from(["read", "write"]))
def test_the_recorder_raises_nothing(data: bytes, kind: int, direction: str) -> None:
    """It runs in the middle of a handshake."""
    recorder = Recorder()
    for version in (0x0303, 0x0304):
        recorder(None, direction, version, 22, kind, data)


@given(st.binary(max_size=60))
def test_a_name_is_read_or_malformed(data: bytes) -> None:
    with contextlib.suppress(parsing.UNREADABLE):
        names.text(names.from_der(data))


def test_a_name_reads_as_it_was_written(ca: CA) -> None:
    full = x509.Name.from_rfc4514_string("CN=Ünï\\, é,OU=a,O=Example,C=DE,1.3.6.1.4.1.5=x")
    for name in (ca.certificate.subject, full):
        assert names.from_der(name.public_bytes()) == name
