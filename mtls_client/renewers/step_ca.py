"""Renewal by step-ca, Smallstep's online CA.

Rules of this file: a one-time token is fetched and sent only where the certificate alone does not
do; nothing that fails after the certificate has been issued loses it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mtls_client._formats import reading
from mtls_client._formats.passwords import Password, Secret
from mtls_client._tls.anchors import rooted
from mtls_client.errors import (
    ConfigurationError,
    IdentityError,
    IdentityRejectedError,
    RenewalError,
    RenewalRefusedError,
)
from mtls_client.renewers._completion import completed
from mtls_client.renewers._http import Issuer, checked_url, refusal
from mtls_client.renewers._secrets import revealed
from mtls_client.renewers._step_tokens import renewal_token
from mtls_client.renewers.csr import Request
from mtls_client.trust import Trust

if TYPE_CHECKING:
    import httpx

    from mtls_client.identity import Identity
    from mtls_client.renewers.csr import KeyKind

__all__ = ["StepCA"]

_UNAUTHORISED = {IdentityRejectedError.code, RenewalRefusedError.code}
"""Codes of errors that a token may help against; those of trust are not among them."""


class StepCA:
    """Renews at step-ca: by the present identity while it is valid, by a token afterwards.

    | The present certificate | Without `token` | With `token` |
    |---|---|---|
    | is valid | `rekey`; `renew` with `reuse_key=True` | the same; `sign` if that is refused |
    | has expired | `renew`, which keeps the key, if `allowRenewalAfterExpiry` is set | `sign` |

    Subject, names and lifetime are those of the present certificate, but with `sign`, where the
    provisioner has the last word. The CA's roots become `identity.roots`.

    Args:
        url: the CA.
        trust: what the CA must prove: usually `Trust.from_file("root_ca.crt")`, or
            `Trust.of_identity()` where the roots are beside the identity.
        token: a one-time token (`step ca token`): a str, bytes, a `Path` to a file, or a function
            that returns it. It is good for five minutes and one certificate, so that a str serves
            a first renewal only.
        reuse_key: keep the private key.
        key: the kind of the new key; that of the present one if None.
        timeout: how many seconds each step of a call may take.

    Raises:
        ConfigurationError: the arguments are malformed or contradictory.

    Example:
        >>> ca = StepCA("https://ca.internal", trust=Trust.from_file("root.pem"))  # doctest: +SKIP
        >>> credential = Credential(source, renewer=ca)  # doctest: +SKIP
    """

    def __init__(
        self,
        url: str,
        *,
        trust: Trust = Trust.system(),
        token: Password = None,
        reuse_key: bool = False,
        key: KeyKind | None = None,
        timeout: float = 30.0,
    ) -> None:
        checked_url(url)
        if reuse_key and key is not None:
            raise ConfigurationError(
                "a key that is kept cannot be of another kind",
                hint="leave out key= or reuse_key=",
                code="step_ca_arguments",
            )
        self._url, self._trust, self._timeout = url.rstrip("/"), trust, timeout
        self._token, self._reuse_key, self._key = token, reuse_key, key

    def renew(self, current: Identity) -> Identity:
        """Return an identity with a certificate that the CA has issued now.

        Raises:
            RenewalError: no answer, or one of no use.
            RenewalRefusedError: the CA says no, or one side does not trust the other.
        """
        if current.expires_in().total_seconds() > 0:
            try:
                return self._by_certificate(current)
            except RenewalRefusedError as error:
                if self._token is None or error.code not in _UNAUTHORISED:
                    raise
        elif self._token is None:
            return self._after_expiry(current)
        return self._by_token(current)

    def _by_certificate(self, current: Identity) -> Identity:
        request = self._request(current)
        with self._issuer(current, current) as issuer:
            if self._reuse_key:
                answer = _asked(issuer, "renew", _NOT_RENEWED)
            else:
                body = {"csr": request.pem.decode()}
                answer = _asked(issuer, "rekey", _NOT_REKEYED, json=body)
            return _issued(issuer, answer, request, current)

    def _after_expiry(self, current: Identity) -> Identity:
        token = renewal_token(current, f"{self._url}/1.0/renew")
        request = Request.renewing(current, reuse_key=True)
        # without the identity: the CA would break off the handshake over it
        with self._issuer(current, None) as issuer:
            headers = {"Authorization": f"Bearer {token}"}
            answer = _asked(issuer, "renew", _EXPIRED, headers=headers, secret=token)
            return _issued(issuer, answer, request, current)

    def _by_token(self, current: Identity) -> Identity:
        request = self._request(current)
        token = revealed("the token for step-ca", self._token).decode("utf-8", "replace")
        with self._issuer(current, None) as issuer:
            body = {"csr": request.pem.decode(), "ott": token}
            answer = _asked(issuer, "sign", _NOT_SIGNED, json=body, secret=token)
            return _issued(issuer, answer, request, current)

    def _request(self, current: Identity) -> Request:
        return Request.renewing(current, reuse_key=self._reuse_key, key=self._key)

    def _issuer(self, current: Identity, presented: Identity | None) -> Issuer:
        trust = rooted(self._trust, current)
        return Issuer(self._url, trust, identity=presented, timeout=self._timeout)

    def __repr__(self) -> str:
        return f"StepCA({self._url!r})"


_NOT_RENEWED = (
    "the certificate is revoked, or its provisioner is gone or does not renew (disableRenewal): "
    "StepCA(token=…), or enrol anew"
)
_NOT_REKEYED = f"{_NOT_RENEWED}; a CA without rekey renews with reuse_key=True"
_EXPIRED = (
    "the certificate has expired: set allowRenewalAfterExpiry for its provisioner, or give "
    "StepCA(token=…)"
)
_NOT_SIGNED = (
    "get a new token for the certificate's subject and names: step ca token SUBJECT --san NAME; "
    "it is good for five minutes and one certificate"
)


def _asked(
    issuer: Issuer, operation: str, hint: str, *, secret: str = "", **content: Any
) -> httpx.Response:
    """Post to an operation and return the answer, if it is a certificate."""
    answer = issuer.call("POST", f"/1.0/{operation}", **content)
    if answer.status_code in (200, 201):
        return answer
    if 300 <= answer.status_code < 400:
        hint = "redirects are not followed; if this one is right, write its URL"
    elif answer.status_code >= 500 and answer.status_code != 501:
        hint = "look at the CA's log; it is asked again"
    raise refusal(
        answer,
        f"step-ca at {issuer.host} refused to {operation}: {_said(answer)}",
        hint=hint,
        secrets=[secret],
    )


def _issued(
    issuer: Issuer, answer: httpx.Response, request: Request, current: Identity
) -> Identity:
    """Join an answer to the key, and complete it with what the CA publishes."""
    content = _object(answer)
    certificates = _pems(content, "certChain") or _pems(content, "crt") + _pems(content, "ca")
    identity = request.joined(*certificates)
    try:
        published = _pems(_object(issuer.call("GET", "/1.0/roots")), "crts")
        roots = [one.value for pem in published for one in reading.certificates(pem, Secret(None))]
        notes = [] if roots else ["the CA publishes no roots"]
    except (RenewalError, IdentityError) as error:
        roots, notes = [], [f"the CA's roots could not be had: {error.args[0]}"]
    return completed(identity, current, roots, notes)


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        content = answer.json()
    except ValueError:
        content = None
    return content if isinstance(content, dict) else {}


def _pems(content: dict[str, Any], name: str) -> list[bytes]:
    """Return the PEM texts of a field, one or a list of them."""
    value = content.get(name)
    texts = value if isinstance(value, list) else [value]
    return [one.encode("ascii", "replace") for one in texts if isinstance(one, str)]


def _said(answer: httpx.Response) -> str:
    message = _object(answer).get("message")
    return message if isinstance(message, str) else "no reason given"
