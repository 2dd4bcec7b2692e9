"""The token with which step-ca lets an expired certificate be renewed.

A JWT (RFC 7519) signed with the certificate's key, the certificate and its issuers in the header
`x5cInsecure`: step-ca verifies them as of before the expiry.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from mtls_client.errors import RenewalRefusedError
from mtls_client.identity import Identity

__all__ = ["renewal_token"]

_CLIENT = "step-ca-client/1.0"
"""The issuer that step-ca expects in such a token."""

_LIFETIME = 300
_CURVES: dict[str, tuple[str, hashes.HashAlgorithm]] = {
    "secp256r1": ("ES256", hashes.SHA256()),
    "secp384r1": ("ES384", hashes.SHA384()),
    "secp521r1": ("ES512", hashes.SHA512()),
}


def renewal_token(identity: Identity, audience: str) -> str:
    """Return a token that is good for one renewal within five minutes.

    Args:
        identity: what is to be renewed.
        audience: the URL that it is sent to.

    Raises:
        RenewalRefusedError: step-ca knows no signature by such a key.
    """
    certificates = [identity.certificate, *(c for c in identity.chain if c.subject != c.issuer)]
    names = identity.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    algorithm, sign = _signer(identity)
    now = int(time.time())
    header = {
        "alg": algorithm,
        "typ": "JWT",
        "x5cInsecure": [
            base64.b64encode(c.public_bytes(Encoding.DER)).decode() for c in certificates
        ],
    }
    claims = {
        "aud": [audience],
        "iss": _CLIENT,
        "sub": str(names[0].value) if names else "",
        "jti": secrets.token_hex(32),
        "iat": now,
        "nbf": now,
        "exp": now + _LIFETIME,
    }
    signed = f"{_encoded(_json(header))}.{_encoded(_json(claims))}"
    return f"{signed}.{_encoded(sign(signed.encode()))}"


def _signer(identity: Identity) -> tuple[str, Callable[[bytes], bytes]]:
    """Return the name of a signature (RFC 7518 §3.1, RFC 8037 §3.1), and what makes it."""
    match identity.private_key:
        case rsa.RSAPrivateKey() as key:
            return "RS256", lambda data: key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        case ed25519.Ed25519PrivateKey() as key:
            return "EdDSA", key.sign
        case ec.EllipticCurvePrivateKey() as key if key.curve.name in _CURVES:
            return _CURVES[key.curve.name][0], lambda data: _by_curve(key, data)
        case _:
            raise RenewalRefusedError(
                f"step-ca takes no token signed with {identity.key_type} {identity.key_bits}",
                hint="the certificate has expired: StepCA(token=…), or enrol anew",
            )


def _by_curve(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(_CURVES[key.curve.name][1])))
    width = (key.key_size + 7) // 8
    return r.to_bytes(width, "big") + s.to_bytes(width, "big")


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
