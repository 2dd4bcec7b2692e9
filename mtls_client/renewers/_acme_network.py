"""Requests to an ACME server: signed, with nonces, until a deadline (RFC 8555 §6)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mtls_client import __version__
from mtls_client.errors import ConfigurationError, RenewalError
from mtls_client.renewers._acme_problems import misunderstood, response_error
from mtls_client.renewers._acme_signing import Signer, is_base64url
from mtls_client.renewers._http import Issuer, checked_url, retry_after

if TYPE_CHECKING:
    import httpx

__all__ = ["Network"]

_NONCES = 5
"""How many nonces of its own a server may refuse before it is an error."""
_HEADERS = {"User-Agent": f"mtls-client/{__version__}"}
_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 5.0


class Network:
    """One conversation with an ACME server.

    Args:
        issuer: the connection.
        url: of the directory.
        timeout: how many seconds all of it may take.

    Attributes:
        host: the server, for messages.
        directory: its directory (RFC 8555 §7.1.1).
    """

    def __init__(self, issuer: Issuer, url: str, *, timeout: float) -> None:
        self.host = issuer.host
        self._issuer, self._timeout = issuer, timeout
        self._deadline = time.monotonic() + timeout
        self._nonce: str | None = None
        self.directory = self.get(url)

    def get(self, url: str) -> dict[str, Any]:
        """Fetch an object that is for everybody."""
        return self.json(self.answer("GET", url))

    def answer(self, method: str, url: str, content: bytes | None = None) -> httpx.Response:
        """Make a request as it is, and keep the nonce of the answer.

        Raises:
            RenewalError: there is no answer, or it is an error.
        """
        if time.monotonic() > self._deadline:
            raise self.late(f"{method} {url}")
        headers = {**_HEADERS, "Content-Type": "application/jose+json"} if content else _HEADERS
        try:
            checked_url(url)
        except ConfigurationError as error:
            raise misunderstood(self.host, f"a link of no use: {error.args[0]}") from error
        response = self._issuer.call(method, url, headers=headers, content=content)
        nonce = response.headers.get("replay-nonce")
        self._nonce = nonce if is_base64url(nonce) else None
        if response.status_code >= 300:
            raise response_error(response, self.host)
        return response

    def post(
        self, signer: Signer, url: str, payload: Mapping[str, Any] | None, account: str | None
    ) -> httpx.Response:
        """Make a signed request, again with another nonce where the server wants one.

        Args:
            signer: signs it.
            url: where it goes.
            payload: what to send; None to fetch.
            account: the URL of the account; None sends the public key instead.

        Raises:
            RenewalError: there is no answer, or it is an error.
        """
        for attempt in range(_NONCES):
            body = signer.signed(payload, nonce=self._fresh_nonce(), url=url, account=account)
            try:
                return self.answer("POST", url, body)
            except RenewalError as error:
                if error.code != "acme_bad_nonce" or attempt == _NONCES - 1:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def url(self, name: str) -> str:
        """Return a URL of the directory."""
        return self.text(self.directory, name)

    def text(self, found: Mapping[str, Any], name: str) -> str:
        """Return a member of an object that must be text."""
        value = found.get(name)
        if not isinstance(value, str):
            raise misunderstood(self.host, f"no {name}")
        return value

    def json(self, response: httpx.Response) -> dict[str, Any]:
        """Return the object that an answer holds."""
        try:
            found = response.json()
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise misunderstood(self.host, "no JSON object")
        return found

    def pause(self, response: httpx.Response, attempt: int, waiting_for: str) -> None:
        """Wait before something is looked at again: as long as the server says, or a little.

        Args:
            response: the last answer.
            attempt: how often it has been looked at, from 0.
            waiting_for: what, for the message.

        Raises:
            RenewalError: it would be too late.
        """
        wanted = retry_after(response)
        seconds = max(wanted or 0.0, min(_FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE))
        if time.monotonic() + seconds > self._deadline:
            raise self.late(waiting_for, wanted)
        time.sleep(seconds)

    def late(self, waiting_for: str, wanted: float | None = None) -> RenewalError:
        """Return the error for what has not happened in time."""
        return RenewalError(
            f"the issuer {self.host} is too slow: still waiting for {waiting_for} "
            f"after {self._timeout:g} seconds",
            hint="try again later, or give a longer timeout=",
            code="acme_timeout",
            retry_after=wanted,
        )

    def _fresh_nonce(self) -> str:
        if self._nonce is None:
            self.answer("HEAD", self.url("newNonce"))
        nonce, self._nonce = self._nonce, None
        if nonce is None:
            raise misunderstood(self.host, "no Replay-Nonce")
        return nonce
