"""What an ACME account key signs; the one place where a renewer touches certbot's libraries.

They sign and encode, and no more: their client of RFC 8555 has its own connections and trust,
knows no `replaces` (RFC 9773), and waits without regard to Retry-After.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, TypeGuard

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from mtls_client._os.extras import optional
from mtls_client.errors import ConfigurationError

__all__ = ["Signer", "base64url", "is_base64url"]

_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


class Signer:
    """Signs requests (JWS, RFC 8555 §6.2) and answers challenges with an account key.

    Args:
        key: RSA, or EC on P-256, P-384 or P-521.

    Raises:
        MissingExtraError: the libraries are not installed.
        ConfigurationError: ACME servers have no use for such a key.
    """

    def __init__(self, key: PrivateKeyTypes) -> None:
        jose = optional("josepy", "acme")
        self._jws = optional("acme.jws", "acme").JWS
        self._messages = optional("acme.messages", "acme")
        match key:
            case rsa.RSAPrivateKey() if key.key_size >= 2048:
                self._jwk, algorithm = jose.JWKRSA(key=key), "RS256"
            case ec.EllipticCurvePrivateKey() if key.curve.name in _CURVES:
                self._jwk, algorithm = jose.JWKEC(key=key), _CURVES[key.curve.name]
            case _:
                raise ConfigurationError(
                    "the account key is neither EC (P-256, P-384, P-521) nor RSA with 2048 bits "
                    "or more",
                    hint="give a path where there is no file yet, and a key is made there",
                    code="acme_account_key",
                )
        self._algorithm = getattr(jose, algorithm)

    def signed(
        self, payload: Mapping[str, Any] | None, *, nonce: str, url: str, account: str | None
    ) -> bytes:
        """Return the body of a POST request.

        Args:
            payload: what to send; None to fetch (POST-as-GET, RFC 8555 §6.3).
            nonce: from the server, in base64url.
            url: where it goes.
            account: the URL of the account; None sends the public key instead.
        """
        content = b"" if payload is None else json.dumps(payload).encode()
        given = base64.urlsafe_b64decode(nonce + "==")
        made: str = self._jws.sign(
            content, self._jwk, self._algorithm, given, url, account
        ).json_dumps()
        return made.encode()

    def binding(self, kid: str, key: str, url: str) -> dict[str, str]:
        """Return the binding to an account outside of ACME (RFC 8555 §7.3.4).

        Args:
            kid: the key identifier.
            key: the HMAC key, in base64url.
            url: of newAccount.
        """
        made: dict[str, str] = self._messages.ExternalAccountBinding.from_data(
            self._jwk.public_key(), kid, key, {"newAccount": url}
        )
        return made

    def authorization(self, token: str) -> str:
        """Return the key authorization of a challenge (RFC 8555 §8.1)."""
        return f"{token}.{base64url(self._jwk.thumbprint())}"

    def digest(self, token: str) -> str:
        """Return what the TXT record of a challenge holds (RFC 8555 §8.4)."""
        return base64url(hashlib.sha256(self.authorization(token).encode()).digest())


def base64url(data: bytes) -> str:
    """Encode without padding (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def is_base64url(text: object) -> TypeGuard[str]:
    """Tell whether it is base64url without padding, so also whether it is a plain file name."""
    if not isinstance(text, str) or len(text) % 4 == 1:
        return False
    return re.fullmatch(r"[A-Za-z0-9_-]+", text) is not None
