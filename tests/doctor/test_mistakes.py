"""The mistakes that people make with client certificates: the first finding names the cause."""

from __future__ import annotations

import datetime
import os
import ssl
import threading
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mtls_client import FileSource, Trust, diagnose
from mtls_client.doctor import Report, diagnosis
from mtls_client.testing import CA, Answer
from tests.doctor.conftest import Stage, bare, made_by_hand
from tests.servers.processes import free_port

DAY = datetime.timedelta(days=1)
MISTAKES: list[Any] = []


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def first(code: str) -> Callable[[Callable[[Stage], Report]], Callable[[Stage], Report]]:
    """Put a mistake on the list, with the finding that must come first."""

    def listed(mistake: Callable[[Stage], Report]) -> Callable[[Stage], Report]:
        MISTAKES.append(pytest.param(mistake, code, id=mistake.__name__))
        return mistake

    return listed


def called(stage: Stage, source: Any = ..., trust: Trust | None = None, **options: Any) -> Report:
    """Diagnose a call of a server; `options` are the server's."""
    url = stage.serve(**options).url
    chosen = stage.identity if source is ... else source
    return diagnose(chosen, url, trust=trust or stage.trust)


@first("file_request")
def a_certificate_request(stage: Stage) -> Report:
    key = stage.identity.private_key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "client")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    csr = stage.write("client.csr", request.public_bytes(Encoding.PEM))
    return diagnose(FileSource(csr, stage.write("k", stage.identity.private_key_pem())))


@first("file_public_key")
def a_public_key(stage: Stage) -> Report:
    public = stage.identity.private_key.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    certificate = stage.write("client.pem", stage.identity.certificate)
    return diagnose(FileSource(certificate, stage.write("client.pub", pem)))


@first("unknown_format")
def a_web_page(stage: Stage) -> Report:
    return diagnose(FileSource(stage.write("client.p12", b"<html>404</html>")))


@first("empty")
def an_empty_file(stage: Stage) -> Report:
    return diagnose(FileSource(stage.write("client.pem", b"\n")))


@first("identity_not_found")
def a_file_that_is_not_there(stage: Stage) -> Report:
    return diagnose(FileSource(stage.folder / "client.pem"))


@first("java_keystore")
def a_java_keystore(stage: Stage) -> Report:
    return diagnose(FileSource(stage.write("client.p12", b"\xfe\xed\xfe\xed" + bytes(50))))


@first("source_slow")
def a_pipe_that_nobody_writes_to(stage: Stage) -> Report:
    stage.monkeypatch.setattr(diagnosis, "_LOADING_WITHIN", 0.2)
    pipe = stage.folder / "pipe"
    os.mkfifo(pipe)
    report = diagnose(FileSource(pipe))
    threading.Thread(target=lambda: pipe.open("wb").close(), daemon=True).start()  # lets it go
    return report


@first("files_swapped")
def swapped_files(stage: Stage) -> Report:
    key = stage.write("client.key", stage.identity.private_key_pem())
    return diagnose(FileSource(key, stage.write("client.pem", stage.identity.certificate)))


@first("file_misnamed")
def der_called_pem(stage: Stage) -> Report:
    der = stage.write("client.pem", stage.identity.certificate.public_bytes(Encoding.DER))
    key = stage.write("client.key", stage.identity.private_key_pem())
    report = diagnose(FileSource(der, key))
    assert report.ok  # it works
    return report


@first("key_mismatch")
def the_key_of_another_pair(stage: Stage) -> Report:
    key = stage.write("client.key", stage.ca.issue("another").private_key_pem())
    return diagnose(FileSource(stage.write("client.pem", stage.identity.certificate), key))


@first("password_whitespace")
def a_password_with_a_line_break(stage: Stage) -> Report:
    stage.identity.save_pkcs12(stage.folder / "client.p12", password="word")
    return diagnose(FileSource(stage.folder / "client.p12", password="word\n"))


@first("password_wrong")
def a_wrong_password(stage: Stage) -> Report:
    stage.identity.save_pkcs12(stage.folder / "client.p12", password="word")
    return diagnose(FileSource(stage.folder / "client.p12", password="sword"))


@first("password_needed")
def no_password(stage: Stage) -> Report:
    stage.identity.save_pem(stage.folder / "client.pem", password="word")
    return diagnose(FileSource(stage.folder / "client.pem"), stage.serve().url, trust=stage.trust)


@first("key_permissions")
def a_key_for_everybody(stage: Stage) -> Report:
    stage.identity.save_pem(stage.folder / "client.pem", password=None)
    (stage.folder / "client.pem").chmod(0o644)
    report = diagnose(FileSource(stage.folder / "client.pem"))
    assert report.ok
    return report


@first("chain_disordered")
def the_ca_before_the_certificate(stage: Stage) -> Report:
    pem = [stage.ca.pem, stage.identity.certificate, stage.identity.private_key_pem()]
    return diagnose(FileSource(stage.write("client.pem", *pem)))


@first("identity_is_ca")
def the_ca_as_client(stage: Stage) -> Report:
    authority = made_by_hand("My CA", ca=True)
    return called(stage, authority)


@first("identity_for_servers")
def a_server_certificate_as_client(stage: Stage) -> Report:
    return called(stage, stage.ca.issue("web", client=False, server=True))


@first("identity_expired")
def an_expired_certificate(stage: Stage) -> Report:
    report = called(stage, stage.ca.issue("late", not_after=now() - DAY))
    assert "rejected_expired" in codes(report)
    return report


@first("identity_not_yet_valid")
def a_certificate_of_tomorrow(stage: Stage) -> Report:
    return called(stage, stage.ca.issue("early", not_before=now() + DAY))


@first("issuer_expired")
def an_expired_intermediate(stage: Stage) -> Report:
    later = now() + 380 * DAY  # CAs of tests live for 365
    client = stage.ca.intermediate().issue("client", not_before=now(), not_after=later + DAY * 300)
    return diagnose(client, now=later)


@first("identity_weak")
def a_short_key(stage: Stage) -> Report:
    return called(stage, stage.ca.issue("short", key="rsa", key_bits=1024))


@first("self_signed")
def a_self_signed_certificate(stage: Stage) -> Report:
    return diagnose(made_by_hand("me"))


@first("identity_revoked")
def a_certificate_on_our_own_list(stage: Stage) -> Report:
    crl = stage.ca.crl([stage.identity])
    return diagnose(stage.identity, trust=Trust.from_pem(stage.ca.pem, crls=crl))


@first("rejected_revoked")
def a_certificate_on_the_servers_list(stage: Stage) -> Report:
    return called(stage, crl=stage.ca.crl([stage.identity]))


@first("rejected_untrusted")
def a_certificate_of_another_ca(stage: Stage) -> Report:
    return called(stage, stage.other_ca.issue("stranger"))


@first("identity_needed")
def no_certificate(stage: Stage) -> Report:
    return called(stage, None)


@first("identity_needed")
def no_certificate_under_tls_1_2(stage: Stage) -> Report:
    return called(stage, None, maximum_version=ssl.TLSVersion.TLSv1_2)


@first("certificate_not_requested")
def a_port_that_asks_for_none(stage: Stage) -> Report:
    return called(stage, client_certificate="none")


@first("url_plain")
def an_http_url(stage: Stage) -> Report:
    return diagnose(stage.identity, "http://localhost/")


@first("url_malformed")
def no_url(stage: Stage) -> Report:
    return diagnose(stage.identity, "https://[::1")


@first("plain_http")
def a_port_for_http(stage: Stage) -> Report:
    port = stage.talk(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    return diagnose(stage.identity, f"https://localhost:{port}", trust=stage.trust)


@first("no_tls")
def a_port_for_something_else(stage: Stage) -> Report:
    port = stage.talk(b"220 mail.example.com ESMTP\r\n")
    return diagnose(stage.identity, f"https://localhost:{port}", trust=stage.trust)


@first("unreachable")
def a_port_without_a_server(stage: Stage) -> Report:
    return diagnose(stage.identity, f"https://localhost:{free_port()}", trust=stage.trust)


@first("name_unresolved")
def a_name_that_does_not_exist(stage: Stage) -> Report:
    return diagnose(stage.identity, "https://absent.invalid/", trust=stage.trust)


@first("proxy_unreachable")
def a_proxy_that_is_none(stage: Stage) -> Report:
    stage.monkeypatch.setenv("HTTPS_PROXY", "http://me:w0rd@[")
    report = diagnose(stage.identity, "https://api.example.com/", trust=stage.trust)
    assert "w0rd" not in str(report)
    return report


@first("proxy_refused")
def a_proxy_that_answers_itself(stage: Stage) -> Report:
    port = stage.talk(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
    stage.monkeypatch.setenv("HTTPS_PROXY", f"http://me:w0rd@127.0.0.1:{port}")
    report = diagnose(stage.identity, "https://api.example.com/", trust=stage.trust)
    assert "w0rd" not in str(report)
    return report


@first("server_hostname")
def another_name(stage: Stage) -> Report:
    return called(stage, identity=stage.ca.issue("s", dns=["api.example.com"], server=True))


@first("server_expired")
def an_expired_server(stage: Stage) -> Report:
    late = stage.ca.issue("s", dns=["localhost"], server=True, not_after=now() - DAY)
    return called(stage, identity=late)


@first("server_untrusted")
def a_server_of_another_ca(stage: Stage) -> Report:
    return called(stage, identity=stage.other_ca.issue("s", dns=["localhost"], server=True))


@first("server_untrusted")
def a_server_of_a_ca_of_the_same_name(stage: Stage) -> Report:
    """Somebody has made the CA anew, and we have the old one."""
    again = CA("Test CA")
    assert again.certificate.subject == stage.ca.certificate.subject
    return called(stage, identity=bare(again.issue("s", dns=["localhost"], server=True)))


@first("server_self_signed")
def a_self_signed_server(stage: Stage) -> Report:
    return called(stage, identity=made_by_hand("s", dns="localhost"))


@first("server_chain_incomplete")
def a_server_without_its_intermediate(stage: Stage) -> Report:
    issuing = stage.ca.intermediate("Issuing CA")
    server = bare(issuing.issue("s", dns=["localhost"], server=True))
    return called(stage, issuing.issue("client"), identity=server)


@first("server_legacy_ca")
def a_tutorial_ca(stage: Stage) -> Report:
    authority = made_by_hand("My CA", ca=True)
    trust = Trust.from_pem(authority.certificate.public_bytes(Encoding.PEM))
    server = made_by_hand("s", by=authority, dns="localhost")
    return called(stage, trust=trust, identity=server)


@first("server_purpose")
def a_client_certificate_as_server(stage: Stage) -> Report:
    return called(stage, identity=stage.ca.issue("s", dns=["localhost"]))


@first("server_revoked")
def a_revoked_server(stage: Stage) -> Report:
    server = stage.ca.issue("s", dns=["localhost"], server=True)
    trust = Trust.from_pem(stage.ca.pem, crls=stage.ca.crl([server]))
    return called(stage, trust=trust, identity=server)


@first("revocation_unknown")
def an_expired_crl(stage: Stage) -> Report:
    crl = stage.ca.crl(last_update=now() - 3 * DAY, next_update=now() - DAY)
    return called(stage, trust=Trust.from_pem(stage.ca.pem, crls=crl))


@first("pin_mismatch")
def the_pin_of_another_key(stage: Stage) -> Report:
    return called(stage, trust=Trust.from_pem(stage.ca.pem, pins=[stage.identity.pin]))


@first("tls_version")
def a_server_with_an_old_tls(stage: Stage) -> Report:
    trust = Trust.from_pem(stage.ca.pem, minimum_version="1.3")
    return called(stage, trust=trust, maximum_version=ssl.TLSVersion.TLSv1_2)


@first("clock_wrong")
def a_wrong_clock(stage: Stage) -> Report:
    tomorrow = now() + 2 * DAY  # by which the certificate has expired
    report = diagnose(stage.identity, stage.serve().url, trust=stage.trust, now=tomorrow)
    assert "identity_expired" in codes(report)
    return report


@first("http_denied")
def an_application_that_says_no(stage: Stage) -> Report:
    return called(stage, handler=lambda call: Answer(status=403))


@first("http_failed")
def a_server_in_trouble(stage: Stage) -> Report:
    return called(stage, handler=lambda call: Answer(status=502))


def codes(report: Report) -> list[str]:
    return [one.code for one in report.findings]


@pytest.mark.parametrize(("mistake", "code"), MISTAKES)
def test_the_first_finding_names_the_cause(
    mistake: Callable[[Stage], Report], code: str, stage: Stage
) -> None:
    report = mistake(stage)
    assert codes(report)[:1] == [code], str(report)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_nothing_is_wrong_where_nothing_is(version: ssl.TLSVersion, stage: Stage) -> None:
    """The control of all the others."""
    report = called(stage, maximum_version=version)
    assert report.ok
    assert [one.severity for one in report.findings if one.severity != "info"] == []
    assert {"identity_accepted", "server_pins", "http_answer"} <= set(codes(report))


def test_all_faults_are_told_at_once(stage: Stage, other_ca: CA) -> None:
    """OpenSSL stops at the first, and so would we."""
    server = other_ca.issue("s", dns=["elsewhere.test"], server=True, not_after=now() - DAY)
    report = called(stage, stage.ca.issue("late", not_after=now() - DAY), identity=server)
    expected = {"identity_expired", "server_expired", "server_hostname", "server_untrusted"}
    assert expected <= set(codes(report))
    assert "certificate_requested" in codes(report)
