"""Refusals in disguise: the handshake succeeded, and the answer says that it should not have."""

from __future__ import annotations

from mtls_client.errors import RejectionReason

__all__ = ["refusal_in"]

# nginx: ngx_http_special_response.c, for its own statuses 495 and 496
_PAGES = {
    b"No required SSL certificate was sent": RejectionReason.MISSING,
    b"The SSL certificate error": RejectionReason.UNKNOWN,
}


def refusal_in(status: int, beginning: bytes) -> RejectionReason | None:
    """Return why a response refuses our identity, or None if it does not.

    Args:
        status: its status code.
        beginning: the first few KiB of its content.
    """
    if status != 400:
        return None
    return next((reason for words, reason in _PAGES.items() if words in beginning), None)
