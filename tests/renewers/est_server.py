"""An EST server, written from RFC 7030 and RFC 8951: the handler of a `mtls_client.testing.Server`.

It verifies what the RFC tells a server to: that the client is one it has issued a certificate to,
that the request is signed with its own key (§3.4), that subject and subjectAltName are those of the
client's certificate (§4.2.2), and that what was put off comes again as it was (§4.2.3).
"""

from __future__ import annotations

import base64
from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import ExtensionOID

from mtls_client import Identity
from mtls_client.testing import CA, Answer, Call
from tests.renewers.issuing import certified

PREFIX = "/.well-known/est"


class ESTServer:
    """What it does differently is changed by its attributes.

    Attributes:
        requests: the CSRs it was sent, in DER.
        authorizations: the Authorization headers it was sent, or None.
        put_off: the Retry-After of the next answers, which are 202.
        password: `user:password`, if HTTP Basic is asked for.
        wishes: what `csrattrs` answers.
        enrolled: makes the answer to `simplereenroll` of a request that is good.
        authorities: makes the answer to `cacerts`.
    """

    def __init__(self, ca: CA, *clients: Identity, label: str = "") -> None:
        self.ca, self.issuer = ca, ca.intermediate()
        self._prefix = PREFIX + label
        self._clients = {one.fingerprint: one.certificate for one in clients}
        self._pending: bytes | None = None
        self.requests: list[bytes] = []
        self.authorizations: list[str | None] = []
        self.put_off: list[str | None] = []
        self.password: str | None = None
        self.wishes = Answer(status=204)
        self.enrolled: Callable[[x509.CertificateSigningRequest], Answer] = self.certificate
        self.authorities: Callable[[], Answer] = lambda: certificates(
            ca.certificate, self.issuer.certificate
        )

    def __call__(self, call: Call) -> Answer:
        self.authorizations.append(call.headers.get("authorization"))
        if self.password is not None:
            expected = "Basic " + base64.b64encode(self.password.encode()).decode()
            if call.headers.get("authorization") != expected:
                challenge = {"WWW-Authenticate": 'Digest realm="x", Basic realm="est"'}
                return text(401, "authorization required", challenge)
        match call.method, call.path.removeprefix(self._prefix):
            case "GET", "/csrattrs":
                return self.wishes
            case "GET", "/cacerts":
                return self.authorities()
            case "POST", "/simplereenroll":
                return self._reenroll(call)
        return text(404, "no such operation")

    def issue(self, csr: x509.CertificateSigningRequest) -> x509.Certificate:
        return certified(self.issuer, csr.public_key(), csr.subject, csr.extensions)

    def certificate(self, csr: x509.CertificateSigningRequest) -> Answer:
        return certificates(self.issue(csr))

    def _reenroll(self, call: Call) -> Answer:
        client = self._clients.get(call.fingerprint or "")
        if client is None:
            return text(403, "this client is not known here")
        if call.headers.get("content-type") != "application/pkcs10":
            return text(415, "not a PKCS#10 request")
        der = base64.b64decode(call.body)
        csr = x509.load_der_x509_csr(der)
        self.requests.append(der)
        if not csr.is_signature_valid:
            return text(400, "the request is not signed with its key")
        same_names = _alternative(csr) == _alternative(client)
        if csr.subject.public_bytes() != client.subject.public_bytes() or not same_names:
            return text(403, "subject and subjectAltName are not those of the certificate")
        if self._pending not in (None, der):
            return text(409, "another request of this client is pending")
        if self.put_off:
            self._pending = der
            wait = self.put_off.pop(0)
            return text(202, "later", {"Retry-After": wait} if wait is not None else {})
        self._pending = None
        return self.enrolled(csr)


def certificates(*certificates: x509.Certificate) -> Answer:
    """A certs-only PKCS#7 (RFC 7030 §4.1.3), base64 in lines."""
    der = pkcs7.serialize_certificates(list(certificates), Encoding.DER)
    return Answer(
        headers={"Content-Type": "application/pkcs7-mime; smime-type=certs-only"},
        body=base64.encodebytes(der),
    )


def text(status: int, words: str, headers: dict[str, str] | None = None) -> Answer:
    headers = {"Content-Type": "text/plain", **(headers or {})}
    return Answer(status=status, headers=headers, body=words.encode())


def wishes(*parts: bytes) -> Answer:
    """CsrAttrs (RFC 7030 §4.5.2)."""
    body = base64.encodebytes(tlv(0x30, *parts))
    return Answer(headers={"Content-Type": "application/csrattrs"}, body=body)


def attribute(kind: str, *values: bytes) -> bytes:
    return tlv(0x30, oid(kind), tlv(0x31, *values))


def oid(dotted: str) -> bytes:
    first, second, *others = map(int, dotted.split("."))
    content = b""
    for number in (first * 40 + second, *others):
        groups = [number & 0x7F]
        while number := number >> 7:
            groups.append(number & 0x7F | 0x80)
        content += bytes(reversed(groups))
    return tlv(0x06, content)


def tlv(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _alternative(of: x509.CertificateSigningRequest | x509.Certificate) -> bytes | None:
    for one in of.extensions:
        if one.oid == ExtensionOID.SUBJECT_ALTERNATIVE_NAME:
            return one.value.public_bytes()
    return None
