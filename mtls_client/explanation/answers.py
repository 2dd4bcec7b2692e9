"""HTTP answers that are refusals in disguise.

Some servers complete the handshake and refuse by a page: nginx always, others when a certificate
is optional and their rules look at it. The words are those of each server's own pages.
"""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any, NamedTuple

from mtls_client._tls.alerts import overheard
from mtls_client.errors import RejectionReason
from mtls_client.explanation.value import Explanation, Whose

__all__ = ["answered", "disguise"]

_ENOUGH = 4096


class _Page(NamedTuple):
    """A page that is known.

    Attributes:
        server: who answers so.
        words: what the page says.
        statuses: with which statuses.
        reason: why our certificate was refused.
        certain: nothing else is answered so.
    """

    server: str
    words: bytes
    statuses: frozenset[int]
    reason: RejectionReason
    certain: bool


_MISSING, _REFUSED = RejectionReason.MISSING, RejectionReason.UNKNOWN
_400 = frozenset({400, 495, 496})  # the last two are nginx's own, for error_page
_403 = frozenset({400, 401, 403})

_PAGES = (
    _Page("nginx", b"No required SSL certificate was sent", _400, _MISSING, True),
    _Page("nginx", b"The SSL certificate error", _400, _REFUSED, True),
    _Page("IIS", b"403.7 - Forbidden", _403, _MISSING, True),
    _Page("IIS", b"403.13 - Forbidden", _403, RejectionReason.REVOKED, True),
    _Page("IIS", b"403.16 - Forbidden", _403, RejectionReason.UNTRUSTED, True),
    _Page("IIS", b"403.17 - Forbidden", _403, RejectionReason.EXPIRED, True),
    _Page("Envoy", b"RBAC: access denied", _403, RejectionReason.DENIED, False),
    _Page("HAProxy", b"Request forbidden by administrative rules", _403, _REFUSED, False),
    _Page("Kubernetes", b"system:anonymous", _403, _MISSING, False),
    # the names of Node's `socket.authorizationError`, which applications hand on
    _Page("Node", b"CERT_HAS_EXPIRED", _403, RejectionReason.EXPIRED, False),
    _Page("Node", b"CERT_REVOKED", _403, RejectionReason.REVOKED, False),
    _Page("Node", b"UNABLE_TO_VERIFY_LEAF_SIGNATURE", _403, RejectionReason.UNTRUSTED, False),
    _Page("Node", b"UNABLE_TO_GET_ISSUER_CERT", _403, RejectionReason.UNTRUSTED, False),
    _Page("Node", b"SELF_SIGNED_CERT", _403, RejectionReason.UNTRUSTED, False),
    _Page("Node", b"INVALID_PURPOSE", _403, RejectionReason.UNSUPPORTED, False),
)

_LATE = b"Cannot perform Post-Handshake Authentication"

_PLAIN = (
    b"The plain HTTP request was sent to HTTPS port",  # nginx
    b"speaking plain HTTP to an SSL-enabled server port",  # Apache
    b"Client sent an HTTP request to an HTTPS server",  # Go
)

# what an application says of its own accord, as Fastify's or Spring's JSON
_SPOKEN = re.compile(r"(client|tls|ssl|x\.?509|mutual)[ -]{0,3}(tls )?cert|\bmtls\b", re.IGNORECASE)
_WORDS = (
    (re.compile(r"expired", re.IGNORECASE), RejectionReason.EXPIRED),
    (re.compile(r"revoked", re.IGNORECASE), RejectionReason.REVOKED),
    (
        re.compile(r"required|missing|not (sent|provided|presented)|no client", re.IGNORECASE),
        _MISSING,
    ),
)
_SERVER = re.compile(r"[A-Za-z][\w./-]{0,39}")


def answered(response: object) -> Explanation | None:
    """Explain a response of any library, or return None if it is none.

    What has not been read of it stays unread.
    """
    status = _status(response)
    if status is None:
        return None
    body = _body(response)
    found = disguise(status, body or b"", server=_server(response))
    if found is not None:
        return found
    return _no_disguise(status, _seen(status, _server(response)), read=body is not None)


def disguise(status: int, body: bytes, *, server: str | None = None) -> Explanation | None:
    """Return what an answer really says about a certificate, or None.

    Args:
        status: the HTTP status.
        body: its content, or the beginning of it.
        server: the header field, for the evidence.
    """
    seen, body = _seen(status, server), body[:_ENOUGH]
    for page in _PAGES:
        if status in page.statuses and page.words in body:
            evidence = f"{seen}, which says {page.words.decode('ascii')!r}"
            by = f"HTTP {status} as {page.server} answers it"
            return _refused(page.reason, by, evidence, certain=page.certain)
    if status in (495, 496):
        reason = _REFUSED if status == 495 else _MISSING
        return _refused(reason, f"HTTP {status}, nginx's own", seen, certain=True)
    if status == 403 and _LATE in body:
        return Explanation(
            whose=Whose.OURS,
            why="the server demands a client certificate for this path only, after the handshake, "
            "and the client did not offer to present one then (RFC 8446 §4.2.6)",
            evidence=f"{seen}, which says {_LATE.decode('ascii')!r}",
            hint="pass a source with your certificate and key to mtls-client, which offers it; "
            "with a context of your own: context.post_handshake_auth = True",
            certain=True,
            code="rejected_missing",
        )
    if status in (400, 497) and (status == 497 or any(words in body for words in _PLAIN)):
        return Explanation(
            whose=Whose.SETTINGS,
            why="the request came in plain HTTP to a port that speaks TLS",
            evidence=seen,
            hint="write https:// in the URL",
            certain=True,
            code="plain_http",
        )
    if status in _403 and (spoken := _spoken(body)):
        reason = next((reason for words, reason in _WORDS if words.search(spoken)), _REFUSED)
        evidence = f"{seen}, whose message speaks of a certificate"
        return _refused(reason, f"HTTP {status} by the application", evidence, certain=False)
    return None


def _refused(reason: RejectionReason, by: str, evidence: str, *, certain: bool) -> Explanation:
    why, hint = overheard(reason, by, host=None)
    return Explanation(
        whose=Whose.OURS,
        why=why,
        evidence=evidence,
        hint=hint,
        certain=certain,
        code=f"rejected_{reason}",
    )


def _no_disguise(status: int, seen: str, *, read: bool) -> Explanation:
    why, code = f"the server answered {status}, no refusal of a certificate as a rule", "http_error"
    hint = "look for the cause in the answer, or in the server's log"
    if status < 400:
        why, code = f"the server answered {status}: nothing was refused", "http_success"
        hint = "nothing"
    elif status in (401, 403):
        why = f"the server answered {status} and does not say why; TLS itself succeeded"
        code = "http_denied"
        hint = (
            "look for what else it wants, such as a token; if it goes by certificates, "
            "ask its owner to admit the subject or fingerprint of yours: mtls show FILE"
        )
    if not read and status >= 400:
        hint = "read the body of the response and explain it again: some servers refuse by a page"
    return Explanation(
        whose=Whose.UNKNOWN,
        why=why,
        evidence=seen if read else f"{seen}, its body not read",
        hint=hint,
        certain=status < 400,
        code=code,
    )


def _status(response: object) -> int | None:
    for name in ("status_code", "status"):
        with contextlib.suppress(Exception):
            value = getattr(response, name, None)
            if isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599:
                return int(value)
    return None


def _body(response: object) -> bytes | None:
    """Return the beginning of what has been read, or None.

    Public attributes read the stream in some libraries; these two are where requests, httpx,
    urllib3 and aiohttp keep what has been read. Plain attributes run no code.
    """
    own: dict[str, Any] = getattr(response, "__dict__", {})
    for name in ("_content", "_body", "content", "body", "text"):
        value = own.get(name)
        if isinstance(value, str):
            return value[:_ENOUGH].encode("utf-8", "replace")
        if isinstance(value, (bytes, bytearray)):
            return bytes(value[:_ENOUGH])
    return None


def _server(response: object) -> str | None:
    with contextlib.suppress(Exception):
        headers: Any = getattr(response, "headers", {})
        value = headers.get("server") or headers.get("Server")
        if isinstance(value, str) and (shape := _SERVER.match(value)):
            return shape.group()
    return None


def _seen(status: int, server: str | None) -> str:
    return f"HTTP {status} from {server}" if server else f"HTTP {status}"


def _spoken(body: bytes) -> str | None:
    """Return what an answer in JSON says about a certificate."""
    with contextlib.suppress(ValueError, RecursionError):
        content = json.loads(body)
        texts = [content] if isinstance(content, str) else []
        if isinstance(content, dict):
            texts = [text for text in content.values() if isinstance(text, str)]
        return next((text for text in texts if _SPOKEN.search(text)), None)
    return None
