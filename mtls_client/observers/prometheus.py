"""`Prometheus`: metrics for a scrape. Needs the extra `prometheus`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from mtls_client._os.extras import optional
from mtls_client.errors import ConfigurationError
from mtls_client.observers._measures import COUNTERS, DURATION, EXPIRY, Measures, expiries

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from mtls_client.credential import Credential
    from mtls_client.events import Event

__all__ = ["Prometheus"]


class Prometheus:
    """An observer that counts events in a Prometheus registry.

    Share one among all sessions and credentials. The metrics are listed in
    docs/observability.md.

    Args:
        registry: where they are registered; the default registry if None.

    Raises:
        MissingExtraError: prometheus-client is not installed.
        ConfigurationError: the registry has these metrics already.

    Example:
        >>> metrics = Prometheus()  # doctest: +SKIP
        >>> credential = Credential(source, observers=[metrics])  # doctest: +SKIP
        >>> metrics.watch("orders", credential)  # doctest: +SKIP
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        client = optional("prometheus_client", "prometheus")
        self._measures = Measures()
        self._expiry = _Expiry(optional("prometheus_client.core", "prometheus").GaugeMetricFamily)
        target = registry or client.REGISTRY
        try:
            target.register(self._expiry)
            self._metrics: dict[str, Any] = {
                name: client.Counter(
                    f"mtls_client_{name}", one.description, one.labels, registry=target
                )
                for name, one in COUNTERS.items()
            }
            self._metrics["handshake_duration"] = client.Histogram(
                "mtls_client_handshake_duration_seconds",
                DURATION.description,
                DURATION.labels,
                registry=target,
            )
        except ValueError as error:
            raise ConfigurationError(
                "the registry has the metrics of another observer already",
                hint="make one Prometheus() and share it",
                code="metrics_registered",
            ) from error

    def __call__(self, event: Event) -> None:
        """Count an event."""
        for name, labels, seconds in self._measures.of(event):
            metric = self._metrics[name].labels(**labels) if labels else self._metrics[name]
            if seconds is None:
                metric.inc()
            else:
                metric.observe(seconds)

    def watch(self, name: str, credential: Credential) -> None:
        """Expose when the identity of a credential expires, for as long as the credential lives.

        Args:
            name: the value of the label `identity`.
            credential: it is asked at every scrape; while it cannot be loaded there is no value.
        """
        self._expiry.credentials[name] = credential


class _Expiry:
    """Asks credentials when they are collected, so that no value is out of date."""

    def __init__(self, family: type[Any]) -> None:
        self._family = family
        self.credentials: WeakValueDictionary[str, Credential] = WeakValueDictionary()

    def describe(self) -> Iterator[Any]:
        """Yield the metric without values."""
        yield self._family(
            "mtls_client_identity_not_after_timestamp_seconds",
            EXPIRY.description,
            labels=EXPIRY.labels,
        )

    def collect(self) -> Iterator[Any]:
        """Yield the metric with the values of now."""
        for family in self.describe():
            for name, expires in expiries(self.credentials):
                family.add_metric([name], expires)
            yield family
