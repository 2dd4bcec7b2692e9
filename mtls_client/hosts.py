"""Host names and patterns, told apart and compared in one way everywhere.

A pattern is one of

* `api.example.com`, that name only;
* `*.example.com`, exactly one label in front;
* `**.example.com`, any number of labels in front, none included;
* `**`, every host;
* an IP address.

It is never a regular expression and never sees a URL. No name is ever looked up here.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from mtls_client.errors import ConfigurationError

__all__ = ["HostPattern", "normalised"]

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")

# IDNA 2003 and 2008 read these four differently (UTS #46 calls them deviations): a pattern
# that has one would name different hosts for different HTTP libraries.
_DEVIATIONS = frozenset("\u00df\u03c2\u200c\u200d")


def normalised(host: str | bytes) -> str:
    """Return a host name in the one form that this library compares.

    HTTP libraries hand the same name over as bytes, as Unicode, as A-labels, with a trailing
    dot, in brackets.

    Args:
        host: a DNS name or an IP address.

    Returns:
        Lower-case A-labels without a trailing dot, or the shortest text of an IP address.

    Raises:
        UnicodeError: the name cannot be a DNS name (the codec of RFC 3490 refuses it).
    """
    text = host.decode("ascii") if isinstance(host, bytes) else host
    text = text.strip("[]")
    if not text.isascii():
        # the codec that getaddrinfo and ssl use: the name we compare is the name that is
        # resolved and that the certificate is checked for
        text = text.encode("idna").decode("ascii")
    text = text.lower().removesuffix(".")
    if text and (text[-1].isdigit() or ":" in text):
        try:
            return ipaddress.ip_address(text).compressed
        except ValueError:
            return text
    return text


@dataclass(frozen=True, slots=True)
class HostPattern:
    """A set of hosts; more specific patterns have a higher `rank`.

    Attributes:
        text: the pattern as this library writes it.
    """

    text: str

    @classmethod
    def parse(cls, text: str) -> HostPattern:
        """Read a pattern.

        Raises:
            ConfigurationError: it is not a pattern; one that could never match anything is
                an error and not a pattern that matches nothing.
        """
        if text == "**":
            return cls(text)
        wildcard, rest = "", text
        for prefix in ("**.", "*."):
            if text.startswith(prefix):
                wildcard, rest = prefix, text[len(prefix) :]
                break
        if _DEVIATIONS.intersection(rest):
            raise _malformed(
                text, "it means different hosts to different libraries; write it as xn--…"
            )
        try:
            name = normalised(rest)
        except UnicodeError as error:
            raise _malformed(text, "it is not a DNS name") from error
        if _is_address(name):
            if wildcard:
                raise _malformed(text, "an address takes no wildcard")
        elif "/" in name or ":" in name:
            raise _malformed(text, "a pattern is a host name only, without scheme, port or path")
        elif not all(_LABEL.fullmatch(label) for label in name.split(".")):
            raise _malformed(text, "it is not a DNS name")
        return cls(wildcard + name)

    def matches(self, host: str) -> bool:
        """Tell whether a `normalised` host is in the set."""
        if self.text == "**":
            return True
        if self.text.startswith("**."):
            return host == self.text[3:] or host.endswith(self.text[2:])
        if self.text.startswith("*."):
            label, dot, rest = host.partition(".")
            return bool(label and dot) and rest == self.text[2:]
        return host == self.text

    @property
    def rank(self) -> tuple[int, int]:
        """Order patterns that match the same host: exact, then `*.`, then `**.`, longer first."""
        kind = 0 if self.text.startswith("**") else 1 if self.text.startswith("*") else 2
        return kind, len(self.text)

    def __str__(self) -> str:
        return self.text


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _malformed(text: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"host pattern {text!r}: {why}",
        hint="write 'api.example.com', '*.example.com' (one label), '**.example.com' or '**'",
        code="host_pattern",
    )
