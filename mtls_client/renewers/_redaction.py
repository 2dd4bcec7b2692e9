"""What an issuer or a program said, fit for a log: one line, not long, without secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["redacted"]

_LONGEST = 400
_SHORTEST_SECRET = 4
_SECRETS = re.compile(
    r"-----BEGIN [^-]*-----.*?(?:-----END [^-]*-----|\Z)"  # PEM, also cut off
    r"|\A(?:(?!-----BEGIN ).)*?-----END [^-]*-----"
    r"|(?<![\w-])eyJ[\w-]+\.[\w-]*(?:\.[\w-]*)*"  # JWS and JWT
    r"|\b(?:hv[sbr]|[sbr])\.[A-Za-z0-9_-]{16,}"  # tokens of Vault and OpenBao
    r"|(?<=://)[^/\s@]+@"  # user and password in a URL
    r"|(?i:(?<=bearer )|(?<=basic ))[\w+/=.~-]{8,}"
    r"|[A-Za-z0-9+/=_-]{80,}",  # anything long enough to be a key
    re.DOTALL,
)


def redacted(text: str | bytes, secrets: Iterable[str | bytes] = ()) -> str:
    """Return a text in one line of at most 400 characters, the end of it if it is longer.

    Args:
        text: whatever was said; bytes are read as UTF-8.
        secrets: what must not be in it, besides what looks like a secret.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    known = [one.decode("utf-8", "replace") if isinstance(one, bytes) else one for one in secrets]
    for secret in sorted(known, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "…")
    text = _SECRETS.sub("…", text)
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _LONGEST else f"…{line[1 - _LONGEST :]}"
