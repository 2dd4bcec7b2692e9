"""A step-ca, written from its documentation: the handler of a `mtls_client.testing.Server`.

It verifies what step-ca does: the client's certificate, the request's signature, and that tokens
are used once: those of provisioners, which are opaque here, and those that expired certificates
sign for themselves.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_client import Identity
from mtls_client.testing import CA, Answer, Call
from tests.renewers.issuing import certified

UNAUTHORISED = "The request lacked necessary authorization to be completed."


class Refused(Exception):
    pass


class StepServer:
    """What it does differently is changed by its attributes.

    Attributes:
        calls: the paths it was asked for.
        tokens: the one-time tokens of its provisioner, with the DNS names they are for.
        renews: whether the provisioner renews at all.
        renews_expired: whether it renews expired certificates too.
        answers: what it answers to a path instead.
        bodies: the bodies it was sent.
    """

    def __init__(self, ca: CA, *clients: Identity) -> None:
        self.ca, self.issuer = ca, ca.intermediate()
        self._clients = {one.fingerprint: one.certificate for one in clients}
        self._used: set[str] = set()
        self.calls: list[str] = []
        self.bodies: list[str] = []
        self.tokens: dict[str, list[str]] = {}
        self.renews = True
        self.renews_expired = False
        self.answers: dict[str, Answer] = {}

    def __call__(self, call: Call) -> Answer:
        self.calls.append(call.path)
        self.bodies.append(f"{call.headers.get('authorization')} {call.body.decode()}")
        if call.path in self.answers:
            return self.answers[call.path]
        try:
            match call.method, call.path:
                case "GET", "/1.0/roots":
                    return answer(201, {"crts": pems([self.ca.certificate])})
                case "POST", "/1.0/renew":
                    client = self._client(call)
                    return self.certificate(client.public_key(), client)
                case "POST", "/1.0/rekey":
                    return self.certificate(request(call).public_key(), self._by_tls(call))
                case "POST", "/1.0/sign":
                    csr = request(call)
                    expected = self.tokens.pop(json.loads(call.body)["ott"], None)
                    if expected is None:
                        raise Refused
                    return self._sign(csr, expected)
        except Refused:
            return answer(401, {"status": 401, "message": UNAUTHORISED})
        return answer(404, {"status": 404, "message": "not found"})

    def certificate(
        self,
        public_key: Any,
        like: x509.Certificate | x509.CertificateSigningRequest,
    ) -> Answer:
        issued = certified(self.issuer, public_key, like.subject, like.extensions)
        leaf, intermediate = pems([issued, self.issuer.certificate])
        return answer(201, {"crt": leaf, "ca": intermediate, "certChain": [leaf, intermediate]})

    def _sign(self, csr: x509.CertificateSigningRequest, expected: list[str]) -> Answer:
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if names.get_values_for_type(x509.DNSName) != expected:
            return answer(403, {"status": 403, "message": "not the valid DNS names"})
        return self.certificate(csr.public_key(), csr)

    def _by_tls(self, call: Call) -> x509.Certificate:
        client = self._clients.get(call.fingerprint or "")
        if client is None or not self.renews:
            raise Refused
        return client

    def _client(self, call: Call) -> x509.Certificate:
        scheme, _, token = call.headers.get("authorization", "").partition(" ")
        if call.fingerprint is not None or scheme != "Bearer":
            return self._by_tls(call)
        if not self.renews_expired:
            raise Refused
        audience = f"https://{call.headers['host']}/1.0/renew"
        certificate, token_id = self.verified(token, audience)
        if token_id in self._used:
            raise Refused
        self._used.add(token_id)
        return certificate

    def verified(self, token: str, audience: str) -> tuple[x509.Certificate, str]:
        """Return who has signed a renewal token, and its ID."""
        signed, _, signature = token.rpartition(".")
        header, claims = (json.loads(decoded(part)) for part in signed.split("."))
        chain = [
            x509.load_der_x509_certificate(base64.b64decode(one)) for one in header["x5cInsecure"]
        ]
        for one, issuer in zip(chain, [*chain[1:], self.ca.certificate], strict=True):
            one.verify_directly_issued_by(issuer)
        verify(chain[0].public_key(), header["alg"], signed.encode(), decoded(signature))
        [name] = chain[0].subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        now = time.time()
        assert claims["sub"] == name.value
        assert claims["aud"] == [audience]
        assert claims["iss"] == "step-ca-client/1.0"
        assert claims["nbf"] <= now < claims["exp"] <= now + 300
        return chain[0], claims["jti"]


def request(call: Call) -> x509.CertificateSigningRequest:
    csr = x509.load_pem_x509_csr(json.loads(call.body)["csr"].encode())
    assert csr.is_signature_valid
    return csr


def pems(certificates: Iterable[x509.Certificate]) -> list[str]:
    return [one.public_bytes(Encoding.PEM).decode() for one in certificates]


def answer(status: int, content: object) -> Answer:
    body = json.dumps(content).encode()
    return Answer(status=status, headers={"Content-Type": "application/json"}, body=body)


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def verify(key: object, algorithm: str, signed: bytes, signature: bytes) -> None:
    match algorithm, key:
        case "RS256", rsa.RSAPublicKey():
            key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
        case "EdDSA", ed25519.Ed25519PublicKey():
            key.verify(signature, signed)
        case (("ES256" | "ES384" | "ES512"), ec.EllipticCurvePublicKey()):
            digest = {"ES256": hashes.SHA256(), "ES384": hashes.SHA384(), "ES512": hashes.SHA512()}
            half = len(signature) // 2
            assert half == (key.key_size + 7) // 8
            r, s = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
            key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(digest[algorithm]))
        case _:
            raise AssertionError(algorithm)
