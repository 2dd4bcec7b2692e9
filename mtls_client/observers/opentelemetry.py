"""`OpenTelemetry`: metrics through the API of OpenTelemetry. Needs the extra `opentelemetry`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from mtls_client._os.extras import optional
from mtls_client.observers._measures import COUNTERS, DURATION, EXPIRY, Measures, expiries

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter

    from mtls_client.credential import Credential
    from mtls_client.events import Event

__all__ = ["OpenTelemetry"]

_ATTRIBUTES = {
    "host": "server.address",
    "version": "tls.protocol.version",
    "resumed": "tls.resumed",
}
"""Labels that have a name in OpenTelemetry's semantic conventions."""


class OpenTelemetry:
    """An observer that counts events with OpenTelemetry.

    Only the API is needed: what becomes of the metrics is decided by the SDK that the program
    sets up, and without one nothing does. They are listed in docs/observability.md.

    Args:
        meter: makes the instruments; that of the global provider if None.

    Raises:
        MissingExtraError: opentelemetry-api is not installed.

    Example:
        >>> metrics = OpenTelemetry()  # doctest: +SKIP
        >>> session = Session(source, observers=[metrics])  # doctest: +SKIP
    """

    def __init__(self, meter: Meter | None = None) -> None:
        api = optional("opentelemetry.metrics", "opentelemetry")
        meter = meter or api.get_meter("mtls_client")
        self._measures = Measures()
        self._observation = api.Observation
        self._credentials: WeakValueDictionary[str, Credential] = WeakValueDictionary()
        self._counters = {
            name: meter.create_counter(f"mtls_client.{name}", description=one.description)
            for name, one in COUNTERS.items()
        }
        self._duration = meter.create_histogram(
            "mtls_client.handshake.duration", unit="s", description=DURATION.description
        )
        meter.create_observable_gauge(
            "mtls_client.identity.not_after",
            callbacks=[self._expiries],
            unit="s",
            description=EXPIRY.description,
        )

    def __call__(self, event: Event) -> None:
        """Count an event."""
        for name, labels, seconds in self._measures.of(event):
            attributes = {_ATTRIBUTES.get(label, label): value for label, value in labels.items()}
            if seconds is None:
                self._counters[name].add(1, attributes)
            else:
                self._duration.record(seconds, attributes)

    def watch(self, name: str, credential: Credential) -> None:
        """Tell when the identity of a credential expires, for as long as the credential lives.

        Args:
            name: the value of the attribute `identity`.
            credential: it is asked at every collection; while it cannot be loaded there is no
                value.
        """
        self._credentials[name] = credential

    def _expiries(self, _options: object) -> Iterator[Any]:
        for name, expires in expiries(self._credentials):
            yield self._observation(expires, {"identity": name})
