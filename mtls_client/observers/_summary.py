"""What an audit log tells: who called what with which certificate, what failed, what changed."""

from __future__ import annotations

from typing import Any, TypeAlias

__all__ = ["Summary"]

_Rows: TypeAlias = "dict[tuple[str, ...], dict[str, Any]]"

_TOLD_BY_AN_EVENT = {"identity_rejected", "pin_mismatch", "pins_expired"}
"""Codes of failed handshakes of which another event says more."""

_CHANGES = {
    "IdentityReloaded",
    "ReloadFailed",
    "GenerationDrained",
    "IdentityRenewed",
    "IdentitySaved",
    "RenewalFailed",
    "IdentityExpiring",
    "EventsDropped",
    "LinesLost",
    "LineTorn",
}


class Summary:
    """Counts lines as they are added."""

    def __init__(self) -> None:
        self._calls: _Rows = {}
        self._failures: _Rows = {}
        self._changes: list[dict[str, Any]] = []
        self._first: str | None = None
        self._last: str | None = None

    def add(self, members: dict[str, Any]) -> None:
        """Count a line."""
        event = members["event"]
        self._first = min(self._first or members["at"], members["at"])
        self._last = max(self._last or "", members["at"])
        if event == "HandshakeCompleted":
            _count(self._calls, members)
        elif (reason := _failure(members)) is not None:
            _count(self._failures, members, event=event, reason=reason)
        elif event in _CHANGES:
            row = {name: members.get(name) for name in ("event", "fingerprint", "serial")}
            reason = members.get("message") or members.get("reason") or members.get("not_after")
            self._changes.append({"first": members["at"], **row, "reason": reason})

    def described(self) -> dict[str, Any]:
        """Return what was counted, for JSON."""
        return {
            "first": self._first,
            "last": self._last,
            "calls": list(self._calls.values()),
            "failures": list(self._failures.values()),
            "changes": self._changes,
        }


def _count(rows: _Rows, members: dict[str, Any], **more: str) -> None:
    about = {name: members.get(name) for name in ("host", "fingerprint", "serial")} | more
    at = members["at"]
    key = tuple(map(str, about.values()))
    row = rows.setdefault(key, {**about, "count": 0, "first": at, "last": at})
    row["count"] += 1
    row["first"], row["last"] = min(row["first"], at), max(row["last"], at)


def _failure(members: dict[str, Any]) -> str | None:
    match members:
        case {"event": "IdentityRejected", "reason": reason}:
            return f"refused our certificate: {reason}" + (
                "" if members.get("certain") else ", probably"
            )
        case {"event": "PinMismatch", "enforced": enforced}:
            return "no pinned key" if enforced else "no pinned key, let pass"
        case {"event": "UnverifiedConnection"}:
            return "not verified, let pass"
        case {"event": "HandshakeFailed", "code": code} if code not in _TOLD_BY_AN_EVENT:
            return str(code)
    return None
