"""What `explain` returns."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["Explanation", "Whose"]

_LONGEST = 1000


class Whose(enum.StrEnum):
    """Whose side a failure is on."""

    OURS = "ours"
    """Our certificate: it was refused, is missing, or cannot be used."""
    THEIRS = "theirs"
    """The server's certificate: we refused it."""
    SETTINGS = "settings"
    """How the call is set up: URL, arguments, versions."""
    NETWORK = "network"
    """No certificate was looked at: names, connections, proxies, time."""
    UNKNOWN = "unknown"


_LEADS = {
    Whose.OURS: "our certificate",
    Whose.THEIRS: "the server's certificate",
    Whose.SETTINGS: "the settings",
    Whose.NETWORK: "the network",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What is known about a failure; as text, one paragraph.

    Attributes:
        whose: whose side it is on.
        why: what happened, in one sentence without a period.
        evidence: what was seen that says so.
        hint: the next thing to do.
        certain: False where it is only likely.
        code: a stable name, for machines: an error's `code`, `rejected_` and a
            `RejectionReason`, or one of docs/errors.md.
    """

    whose: Whose
    why: str
    evidence: str
    hint: str
    certain: bool
    code: str

    def __post_init__(self) -> None:
        for name in ("why", "evidence", "hint"):
            object.__setattr__(self, name, _line(getattr(self, name)))

    def __str__(self) -> str:
        if self.whose is Whose.UNKNOWN:
            lead = "No certificate" if self.certain else "Not certain"
        else:
            lead = _LEADS[self.whose]
            lead = lead.capitalize() if self.certain else f"Probably {lead}"
        return f"{lead}: {self.why}. What to do: {self.hint}. Seen: {self.evidence}."


def _line(text: str) -> str:
    """Return one line that a terminal can show."""
    words = " ".join(text[:_LONGEST].split())
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in words
    )
