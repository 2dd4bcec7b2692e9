"""Paths in URIs (RFC 8089)."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

from mtls_client.errors import ConfigurationError

__all__ = ["path_of"]


def path_of(rest: str) -> Path:
    """Return the path in what follows the scheme: `PATH` or `///PATH`, percent-encoded.

    Raises:
        ConfigurationError: it names another machine, or nothing; it is not in the message.
    """
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host not in ("", "localhost"):
            raise ConfigurationError(
                "two slashes, and then a machine; only paths of this one can be read",
                hint="write file:PATH, or file:///PATH with three slashes",
                code="source_path",
            )
        rest = slash + path
    text = unquote(rest, errors="surrogateescape")
    if os.name == "nt" and re.match(r"/[A-Za-z]:", text):
        text = text[1:]
    if not text or "\0" in text:
        raise ConfigurationError(
            "no path where one belongs", hint="write file:PATH", code="source_path"
        )
    return Path(text)
