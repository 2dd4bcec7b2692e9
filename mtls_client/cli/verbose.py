"""`-v`: the handshake and the headers, on standard error, without secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mtls_client.events import Event, HandshakeCompleted, HandshakeFailed

if TYPE_CHECKING:
    import httpx

    from mtls_client.identity import Identity
    from mtls_client.trust import Trust

__all__ = ["Verbose"]

_SECRET = {"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key"}


class Verbose:
    """Prints what happens.

    Args:
        identity: what is presented.
        trust: what servers must prove.
    """

    def __init__(self, identity: Identity | None, trust: Trust) -> None:
        if identity is None:
            _say("*", "identity: none")
        else:
            _say(
                "*", f"identity: {identity.subject}, until {identity.not_after:%Y-%m-%d %H:%M} UTC"
            )
            _say("*", f"          serial {identity.serial}, sha256 {identity.fingerprint}")
        _say("*", f"trust: {repr(trust).removeprefix('<Trust: ').removesuffix('>')}")

    @property
    def hooks(self) -> dict[str, list[Any]]:
        """The hooks for httpx."""
        return {"request": [self._request], "response": [self._response]}

    def event(self, event: Event) -> None:
        """Print an event of the connection."""
        if isinstance(event, HandshakeCompleted):
            shown = "our certificate was offered" if event.fingerprint else "no certificate of ours"
            _say("*", f"connected to {event.host}: {event.version}, {event.cipher}, {shown}")
            _say("*", f"server's key: {event.server_pin}")
        elif isinstance(event, HandshakeFailed):
            _say("*", f"handshake with {event.host} failed: {event.code}")

    def _request(self, request: httpx.Request) -> None:
        _say(">", f"{request.method} {request.url.raw_path.decode()}")
        self._headers(">", request.headers)

    def _response(self, response: httpx.Response) -> None:
        _say("<", f"{response.http_version} {response.status_code} {response.reason_phrase}")
        self._headers("<", response.headers)

    def _headers(self, sign: str, headers: httpx.Headers) -> None:
        for name, value in headers.multi_items():
            _say(sign, f"{name}: {'[hidden]' if name.lower() in _SECRET else value}")
        _say(sign, "")


def _say(sign: str, text: str) -> None:
    click.echo(f"{sign} {text}".rstrip(), err=True)
