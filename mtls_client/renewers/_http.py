"""Calls to issuers over HTTPS; the one place where a renewer touches httpx.

Rules of this file: no redirect is followed, no answer is larger or takes longer than it may,
every failure is a `RenewalError`, and no error holds what was sent.
"""

from __future__ import annotations

import datetime
import email.utils
import ipaddress
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mtls_client._tls.causes import buried
from mtls_client._tls.inner import shared
from mtls_client.errors import (
    ConfigurationError,
    IdentityRejectedError,
    RenewalError,
    RenewalRefusedError,
    TrustError,
)
from mtls_client.renewers._redaction import redacted

if TYPE_CHECKING:
    import httpx

    from mtls_client.identity import Identity
    from mtls_client.trust import Trust

__all__ = ["Issuer", "refusal", "retry_after"]

_LARGEST = 2**20
_STEPS = 4
"""How many times the timeout of a step an answer may take as a whole."""

_PASSING = {408, 425, 429, 500, 502, 503, 504}
"""Status codes of what is over sooner or later (RFC 9110 §15, RFC 6585 §4)."""


class Issuer:
    """Speaks to one issuer; a context manager.

    Args:
        url: its base URL; `https`, or `http` to this machine.
        trust: what it must prove.
        identity: what to present to it, if anything.
        timeout: how many seconds each step of a call may take; the answer's body, four times that.

    Attributes:
        host: the host and port, for messages.

    Raises:
        ConfigurationError: the URL is not such a URL.
    """

    def __init__(
        self,
        url: str,
        trust: Trust,
        *,
        identity: Identity | None = None,
        timeout: float = 30.0,
    ) -> None:
        import httpx

        base = checked_url(url)
        self.host = base.netloc.decode()
        self._timeout = timeout
        context = shared(identity, trust, alpn=("http/1.1",))
        self._client = httpx.Client(
            base_url=base,
            verify=context,
            timeout=timeout,
            headers={"Accept-Encoding": "identity"},  # what is sent is what is counted
            trust_env=base.scheme == "https",  # a proxy would be told what plain http says
        )

    def call(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        content: bytes | None = None,
    ) -> httpx.Response:
        """Make a call and return the answer, whatever its status.

        Args:
            method: the HTTP method.
            path: relative to the base URL, or a URL of the same origin.
            headers: further headers.
            json: the body as JSON.
            content: the body as bytes.

        Raises:
            RenewalError: there was no answer: not reached, cut off, too large, too slow.
            RenewalRefusedError: we do not trust the issuer, it refused our identity, or the URL
                is of another origin.
            ConfigurationError: a header cannot be sent.
        """
        import httpx

        self._check(path, headers or {})
        deadline = time.monotonic() + _STEPS * self._timeout
        body = bytearray()
        try:
            with self._client.stream(
                method, path, headers=headers, json=json, content=content
            ) as response:
                for piece in response.iter_raw():
                    body += piece
                    if len(body) > _LARGEST:
                        raise self._failed("its answer is larger than 1 MiB", "issuer_answer")
                    if time.monotonic() > deadline:
                        raise self._failed("its answer takes too long", "issuer_answer")
        except httpx.HTTPError as error:
            raise self._failure(error) from error
        return httpx.Response(
            response.status_code,
            headers={k: v for k, v in response.headers.items() if k != "content-encoding"},
            content=bytes(body),
        )

    def _check(self, path: str, headers: Mapping[str, str]) -> None:
        import httpx

        for name, value in headers.items():
            # h11 would refuse it too, and quote it
            if not (value.isascii() and value.isprintable()):
                raise ConfigurationError(
                    f"the header {name} for the issuer {self.host} cannot be sent",
                    hint="a header is printable ASCII: look for line breaks and other letters",
                    code="issuer_header",
                )
        target, base = httpx.URL(path), self._client.base_url
        origin = (base.scheme, base.host, base.port)
        if target.is_absolute_url and (target.scheme, target.host, target.port) != origin:
            raise RenewalRefusedError(
                f"the issuer {self.host} names a URL of another origin: "
                f"{redacted(target.netloc.decode())}",
                hint="give the issuer's URL by the name that it calls itself",
                code="issuer_origin",
            )

    def _failure(self, error: httpx.HTTPError) -> RenewalError:
        ours = buried(error)
        if isinstance(ours, (TrustError, IdentityRejectedError)):
            return RenewalRefusedError(
                f"the issuer {self.host}: {ours.args[0]}", hint=ours.hint, code=ours.code
            )
        return self._failed(f"{type(error).__name__}: {redacted(str(error))}", "issuer_unreachable")

    def _failed(self, what: str, code: str) -> RenewalError:
        return RenewalError(
            f"the issuer {self.host}: {what}",
            hint="check its URL, and whether it runs and can be reached from here",
            code=code,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._client.close()


def checked_url(url: str) -> httpx.URL:
    """Return a URL that tokens may be sent to.

    Raises:
        ConfigurationError: it is malformed, holds a password, or is not encrypted.
    """
    import httpx

    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        parsed = None  # the error quotes the URL and must not be chained
    if parsed is None:
        raise _bad_url("it cannot be parsed")
    if parsed.userinfo:
        raise _bad_url("it holds a user name or password")
    if parsed.scheme != "https" and not (parsed.scheme == "http" and _is_local(parsed.host)):
        raise _bad_url("it is not https")
    if not parsed.host:
        raise _bad_url("it names no host")
    return parsed


def _bad_url(reason: str) -> ConfigurationError:
    # it may hold a secret, so it is not in the message
    return ConfigurationError(
        f"the issuer's URL is of no use: {reason}",
        hint="write https://HOST[:PORT][/PATH]; plain http only to this machine",
        code="issuer_url",
    )


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refusal(
    response: httpx.Response,
    what: str,
    *,
    hint: str,
    code: str | None = None,
    passes: bool = False,
    secrets: Iterable[str | bytes] = (),
) -> RenewalError:
    """Return the error for an answer that is not the one that was hoped for.

    Args:
        response: the answer.
        what: what the issuer said about it; it is made fit for a log.
        hint: what to do about it.
        code: the error's code; by the status if None.
        passes: it is over sooner or later, whatever the status says of that.
        secrets: what must not be in the message.
    """
    message = f"{redacted(what, secrets)} (HTTP {response.status_code})"
    if passes or response.status_code in _PASSING:
        return RenewalError(
            message, hint=hint, code=code or "issuer_busy", retry_after=retry_after(response)
        )
    return RenewalRefusedError(message, hint=hint, code=code)


def retry_after(response: httpx.Response) -> float | None:
    """Return the Retry-After header in seconds (RFC 9110 §10.2.3), at most a day; None without."""
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        seconds = float(value[:9])
    else:
        try:
            date = email.utils.parsedate_to_datetime(value)
        except ValueError:
            return None
        if date.tzinfo is None:
            date = date.replace(tzinfo=datetime.UTC)
        seconds = (date - datetime.datetime.now(datetime.UTC)).total_seconds()
    return min(max(seconds, 0.0), 86400.0)
