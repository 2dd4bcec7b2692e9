"""What is measured of events, for any system of metrics: names, labels, amounts.

Rules of this file: the number of different label values is bounded. Hosts come from the caller,
who may call any number of them: the first hundred have a label of their own, the others share one.
Serial numbers and fingerprints are no labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from mtls_client import events
from mtls_client.errors import MTLSError
from mtls_client.events import Event

if TYPE_CHECKING:
    from mtls_client.credential import Credential

__all__ = ["COUNTERS", "DURATION", "EXPIRY", "Measure", "Measures", "expiries"]

_MOST_HOSTS = 100


class _Metric(NamedTuple):
    description: str
    labels: tuple[str, ...]


COUNTERS = {
    "handshakes": _Metric(
        "TLS handshakes; the result is completed or the code of an error", ("host", "result")
    ),
    "identity_refusals": _Metric(
        "Refusals of our certificate by servers", ("host", "reason", "certain")
    ),
    "pin_mismatches": _Metric("Servers without a pinned key", ("host", "enforced")),
    "unverified_connections": _Metric("Connections without verification", ("host",)),
    "identity_reloads": _Metric(
        "Changes of identity sources; the result is completed or the code of an error", ("result",)
    ),
    "identity_renewals": _Metric(
        "Attempts to renew; the result is completed or the code of an error", ("result",)
    ),
    "identity_expiry_warnings": _Metric(
        "Thresholds that an identity has passed without being renewed", ()
    ),
}
DURATION = _Metric("How long completed handshakes took", ("host", "version", "resumed"))
EXPIRY = _Metric("When the identity in use expires", ("identity",))


class Measure(NamedTuple):
    """An amount to add to a counter, or to put into the histogram of durations."""

    name: str
    labels: dict[str, str]
    seconds: float | None = None


class Measures:
    """Turns events into measures."""

    def __init__(self) -> None:
        self._hosts: set[str] = set()

    def of(self, event: Event) -> Iterator[Measure]:
        """Yield what an event adds."""
        match event:
            case events.HandshakeCompleted():
                host = self._host(event)
                yield Measure("handshakes", {"host": host, "result": "completed"})
                labels = {"host": host, "version": event.version, "resumed": _word(event.resumed)}
                yield Measure("handshake_duration", labels, event.seconds)
            case events.HandshakeFailed():
                yield Measure("handshakes", {"host": self._host(event), "result": event.code})
            case events.IdentityRejected():
                labels = {"reason": str(event.reason), "certain": _word(event.certain)}
                yield Measure("identity_refusals", {"host": self._host(event), **labels})
            case events.PinMismatch():
                labels = {"host": self._host(event), "enforced": _word(event.enforced)}
                yield Measure("pin_mismatches", labels)
            case events.UnverifiedConnection():
                yield Measure("unverified_connections", {"host": self._host(event)})
            case events.IdentityReloaded():
                yield Measure("identity_reloads", {"result": "completed"})
            case events.ReloadFailed():
                yield Measure("identity_reloads", {"result": event.code})
            case events.IdentityRenewed():
                yield Measure("identity_renewals", {"result": "completed"})
            case events.RenewalFailed():
                yield Measure("identity_renewals", {"result": event.code})
            case events.IdentityExpiring():
                yield Measure("identity_expiry_warnings", {})

    def _host(self, event: events.ConnectionEvent) -> str:
        host = event.host or ""
        if host in self._hosts:
            return host
        # threads that meet here let in a few more, which does no harm
        if len(self._hosts) >= _MOST_HOSTS or len(host) > 253:
            return "other"
        self._hosts.add(host)
        return host


def expiries(credentials: Mapping[str, Credential]) -> Iterator[tuple[str, float]]:
    """Yield when identities expire, in seconds since 1970, if they can be loaded."""
    for name, credential in list(credentials.items()):
        try:
            yield name, credential.identity.not_after.timestamp()
        except MTLSError:
            continue


def _word(flag: bool) -> str:
    return "true" if flag else "false"
