"""Renewal by Enrollment over Secure Transport (EST): RFC 7030, with RFC 8951 and RFC 9908.

Rules of this file: a request that the server has not decided on is sent again, the very same one
(RFC 7030 §4.2.3); nothing that fails after the certificate has been issued loses it; a password
leaves only when the server asks for one.
"""

from __future__ import annotations

import base64
import re
import time
import urllib.parse
from typing import TYPE_CHECKING

from mtls_client._formats import reading
from mtls_client._formats.passwords import Password, Secret
from mtls_client._tls.anchors import rooted
from mtls_client.errors import ConfigurationError, IdentityError, RenewalError
from mtls_client.renewers._completion import completed
from mtls_client.renewers._csr_attributes import CSRAttributes
from mtls_client.renewers._http import Issuer, checked_url, refusal, retry_after
from mtls_client.renewers._secrets import revealed
from mtls_client.trust import Trust

if TYPE_CHECKING:
    import httpx
    from cryptography import x509

    from mtls_client.identity import Identity
    from mtls_client.renewers.csr import KeyKind, Request

__all__ = ["EST"]

_PATH = "/.well-known/est"
_BASIC = re.compile(r"(?:^|,)\s*basic\b", re.IGNORECASE)
_SHORTEST_WAIT = 1.0
_DECIDED = {200, 400, 403, 409, 422}
"""Answers to what was asked for; others are about who asks, where, and when."""


class EST:
    """Renews at an EST server: `simplereenroll`, authenticated by the present identity.

    Subject, subjectAltName and extended key usage are asked for as they are. What the server
    wants besides (`csrattrs`) is heeded: the kind of key, the hash of the signature, extensions.
    Its CA certificates (`cacerts`) complete the chain and become `identity.roots`.

    A server that answers 202 is asked again with the same request, by this call while its
    Retry-After ends within the timeout, else by the next one. The request and its key are kept
    in memory until the server has decided.

    Args:
        url: the server, with or without `/.well-known/est`.
        label: which CA or profile, where the server has several (RFC 7030 §3.2.2).
        trust: what the server must prove.
        username: for servers that ask for HTTP Basic besides (RFC 7030 §3.2.3).
        password: goes with it: a str, bytes, a `Path` to a file, or a function that returns it;
            read only when the server asks.
        reuse_key: keep the private key.
        key: the kind of the new key, whatever the server wants; if None, what it wants, or else
            the kind of the present key.
        timeout: how many seconds each step of a call may take, and how long a request that was
            put off is waited for.

    Raises:
        ConfigurationError: the arguments are malformed or contradictory.

    Example:
        >>> est = EST("https://est.example.com", trust=Trust.from_file("ca.pem"))  # doctest: +SKIP
        >>> credential = Credential(source, renewer=est)  # doctest: +SKIP
    """

    def __init__(
        self,
        url: str,
        *,
        label: str | None = None,
        trust: Trust = Trust.system(),
        username: str | None = None,
        password: Password = None,
        reuse_key: bool = False,
        key: KeyKind | None = None,
        timeout: float = 30.0,
    ) -> None:
        checked_url(url)
        if (username is None) != (password is None):
            raise _contradiction("a user name and a password go together")
        if username is not None and ":" in username:
            raise _contradiction("a user name for HTTP Basic has no colon (RFC 7617 §2)")
        if reuse_key and key is not None:
            raise _contradiction("a key that is kept cannot be of another kind")
        if label is not None and not label.strip("/"):
            raise _contradiction("the label is empty")
        self._url = url.rstrip("/").removesuffix(_PATH)
        self._prefix = _PATH + (
            f"/{urllib.parse.quote(label.strip('/'), safe='')}" if label else ""
        )
        self._trust, self._timeout = trust, timeout
        self._username, self._password = username, password
        self._reuse_key, self._key = reuse_key, key
        self._pending: dict[str, tuple[Request, tuple[str, ...]]] = {}

    def renew(self, current: Identity) -> Identity:
        """Return an identity with a certificate that the server has issued now.

        Raises:
            RenewalError: no answer, put off (`renewal_pending`), or an answer of no use.
            RenewalRefusedError: the server says no, or one side does not trust the other.
        """
        trust = rooted(self._trust, current)
        with Issuer(self._url, trust, identity=current, timeout=self._timeout) as issuer:
            server = _Server(issuer, self._prefix, self._username, self._password)
            request, notes = self._pending.get(current.fingerprint) or self._request(
                server, current
            )
            self._pending[current.fingerprint] = request, notes
            answer = self._enrolled(server, request)
            if answer.status_code in _DECIDED:
                del self._pending[current.fingerprint]
            if answer.status_code != 200:
                raise server.refusal("simplereenroll", answer)
            issued = request.joined(answer.content)
            authorities, more = _authorities(server)
        return completed(issued, current, authorities, (*notes, *more))

    def _request(self, server: _Server, current: Identity) -> tuple[Request, tuple[str, ...]]:
        wanted, notes = _csr_attributes(server)
        request, unmet = wanted.request(current, reuse_key=self._reuse_key, key=self._key)
        return request, (*notes, *unmet)

    def _enrolled(self, server: _Server, request: Request) -> httpx.Response:
        """Send a request until it is not put off any more, or for longer than is waited here."""
        # wrapped, as some servers' decoders want it; none may mind (RFC 8951 §3.2)
        content = base64.encodebytes(request.der)
        deadline = time.monotonic() + self._timeout
        while (answer := server.call("POST", "simplereenroll", content)).status_code == 202:
            wait = retry_after(answer)
            if wait is None or time.monotonic() + max(wait, _SHORTEST_WAIT) > deadline:
                raise RenewalError(
                    f"the EST server {server.host} has put the request off",
                    hint="somebody may have to approve it there; it is sent again as it is",
                    code="renewal_pending",
                    retry_after=wait,
                )
            time.sleep(max(wait, _SHORTEST_WAIT))
        return answer

    def __repr__(self) -> str:
        return f"EST({self._url + self._prefix!r})"


class _Server:
    """The operations of one EST server, under one label."""

    def __init__(
        self, issuer: Issuer, prefix: str, username: str | None, password: Password
    ) -> None:
        self.host = issuer.host
        self._issuer, self._prefix = issuer, prefix
        self._username, self._password = username, password
        self._secrets: list[bytes] = []

    def call(self, method: str, operation: str, content: bytes | None = None) -> httpx.Response:
        """Call an operation, with a password if the server asks for one."""
        headers = {}
        if content is not None:
            headers["Content-Type"] = "application/pkcs10"
            headers["Content-Transfer-Encoding"] = "base64"  # ignored since RFC 8951 §3.1
        path = f"{self._prefix}/{operation}"
        answer = self._issuer.call(method, path, headers=headers, content=content)
        asked = _BASIC.search(answer.headers.get("www-authenticate", ""))
        if answer.status_code == 401 and asked and self._username is not None:
            headers["Authorization"] = self._basic(self._username)
            answer = self._issuer.call(method, path, headers=headers, content=content)
        return answer

    def refusal(self, operation: str, answer: httpx.Response) -> RenewalError:
        """Return the error for an answer without a certificate."""
        said = _said(answer)
        return refusal(
            answer,
            f"the EST server {self.host} refused {operation}" + (f": {said}" if said else ""),
            hint=self._hint(answer.status_code),
            secrets=self._secrets,
        )

    def _basic(self, username: str) -> str:
        password = revealed("the password for the EST server", self._password)
        token = base64.b64encode(username.encode() + b":" + password)
        self._secrets += [token, password]
        return f"Basic {token.decode()}"

    def _hint(self, status: int) -> str:
        match status:
            case 401 if self._secrets:
                return "check the user name and the password"
            case 401:
                return "it wants a password, EST(username=…, password=…), or another certificate"
            case 403:
                return "look at its policy: who may renew, and when; subject and SAN were kept"
            case 404:
                return f"check the URL and the label: it was asked for {self._prefix}/…"
            case status if 300 <= status < 400:
                return "redirects are not followed; if this one is right, write its URL"
            case status if status >= 500 or status == 429:
                return "look at its log; it is asked again with the same request"
            case _:
                return "look at its log, and at what it wants in a request (csrattrs)"


def _said(answer: httpx.Response) -> str:
    """Return a message for people (RFC 7030 §4.2.3), which a web page is not."""
    kind = answer.headers.get("content-type", "text/plain")
    return answer.content.decode("utf-8", "replace") if kind.startswith("text/plain") else ""


def _csr_attributes(server: _Server) -> tuple[CSRAttributes, tuple[str, ...]]:
    """Ask what a request should hold; a server need not say (RFC 7030 §4.5.2)."""
    answer = server.call("GET", "csrattrs")
    if answer.status_code != 200 or not answer.content.strip():
        return CSRAttributes(), ()
    try:
        return CSRAttributes.read(answer.content), ()
    except ValueError:
        return CSRAttributes(), ("what the EST server wants (csrattrs) cannot be read",)


def _authorities(server: _Server) -> tuple[list[x509.Certificate], tuple[str, ...]]:
    """Return the CA certificates of the server, or a note of why there are none."""
    try:
        answer = server.call("GET", "cacerts")
        if answer.status_code != 200:
            raise server.refusal("cacerts", answer)
        found = reading.certificates(answer.content, Secret(None))
    except (RenewalError, IdentityError) as error:
        return [], (f"the EST server's CA certificates could not be had: {error.args[0]}",)
    return [one.value for one in found], ()


def _contradiction(message: str) -> ConfigurationError:
    return ConfigurationError(message, hint="see EST", code="est_arguments")
