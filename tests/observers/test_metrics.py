"""`Prometheus` and `OpenTelemetry`: what a scrape and a reader see of real calls."""

from __future__ import annotations

import datetime
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

import mtls_client as mtls
from mtls_client import events
from mtls_client.observers import OpenTelemetry, Prometheus
from mtls_client.testing import CA, Server
from tests.clients import fetch, native_errors
from tests.observers import samples
from tests.rotation.writing import write


class Scrape:
    """A registry of Prometheus, and what a server would scrape."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.observer = Prometheus(self.registry)

    def values(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        text = generate_latest(self.registry).decode()
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        return self.values().get((f"mtls_client_{name}", frozenset(labels.items())))


class Reader:
    """A reader of OpenTelemetry's SDK."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader])
        self.observer = OpenTelemetry(self.provider.get_meter("test"))

    def points(self) -> dict[tuple[str, frozenset[tuple[str, Any]]], Any]:
        data = self.reader.get_metrics_data()
        return {
            (metric.name, frozenset((point.attributes or {}).items())): point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
        }

    def value(self, name: str, **attributes: str) -> Any:
        named = {name.replace("__", "."): value for name, value in attributes.items()}
        point = self.points().get((f"mtls_client.{name}", frozenset(named.items())))
        return getattr(point, "value", point)


def calls(
    observer: Callable[[events.Event], object],
    folder: Path,
    server: Server,
    ca: CA,
    untrusted_identity: mtls.Identity,
) -> mtls.Credential:
    """Make three good calls, a refused one, a mismatch, a reload and a failed reload."""
    trust = mtls.Trust.from_pem(ca.pem)
    credential = mtls.Credential(write(folder, ca.issue("first")), observers=[observer])
    for kind in ("requests", "httpx", "asyncio"):
        fetch(kind, credential, server.url, trust=trust, observers=[observer])
    with pytest.raises(native_errors("requests")):
        fetch("requests", untrusted_identity, server.url, trust=trust, observers=[observer])
    pinned = mtls.Trust.from_pem(ca.pem, pins=["sha256/" + "A" * 43 + "="])
    with pytest.raises(native_errors("httpx")):
        fetch("httpx", credential, server.url, trust=pinned, observers=[observer])
    write(folder, ca.issue("second"))
    credential.reload()
    (folder / "tls.crt").write_text("")
    with pytest.raises(mtls.IdentityError):
        credential.reload()
    return credential


def test_a_scrape_shows_real_calls(
    tmp_path: Path, server: Server, ca: CA, untrusted_identity: mtls.Identity
) -> None:
    scrape = Scrape()
    credential = calls(scrape.observer, tmp_path, server, ca, untrusted_identity)
    scrape.observer.watch("orders", credential)
    # under TLS 1.3 the handshake is complete before the server refuses
    assert scrape.value("handshakes_total", host="localhost", result="completed") == 4
    assert scrape.value("handshakes_total", host="localhost", result="pin_mismatch") == 1
    duration = {"host": "localhost", "version": "TLSv1.3", "resumed": "false"}
    assert scrape.value("handshake_duration_seconds_count", **duration) == 4
    total = scrape.value("handshake_duration_seconds_sum", **duration)
    assert total is not None
    assert 0 < total < 40
    refusals = {"host": "localhost", "reason": "untrusted", "certain": "true"}
    assert scrape.value("identity_refusals_total", **refusals) == 1
    assert scrape.value("pin_mismatches_total", host="localhost", enforced="true") == 1
    assert scrape.value("identity_reloads_total", result="completed") == 1
    assert scrape.value("identity_reloads_total", result="empty") == 1
    expires = credential.identity.not_after.timestamp()
    assert scrape.value("identity_not_after_timestamp_seconds", identity="orders") == expires


def test_a_reader_shows_real_calls(
    tmp_path: Path, server: Server, ca: CA, untrusted_identity: mtls.Identity
) -> None:
    reader = Reader()
    credential = calls(reader.observer, tmp_path, server, ca, untrusted_identity)
    reader.observer.watch("orders", credential)
    assert reader.value("handshakes", server__address="localhost", result="completed") == 4
    assert reader.value("handshakes", server__address="localhost", result="pin_mismatch") == 1
    duration = {
        "server__address": "localhost",
        "tls__protocol__version": "TLSv1.3",
        "tls__resumed": "false",
    }
    assert reader.value("handshake.duration", **duration).count == 4
    refusals = {"server__address": "localhost", "reason": "untrusted", "certain": "true"}
    assert reader.value("identity_refusals", **refusals) == 1
    assert reader.value("identity_reloads", result="completed") == 1
    expires = credential.identity.not_after.timestamp()
    assert reader.value("identity.not_after", identity="orders") == expires
    reader.provider.shutdown()


def test_renewals_are_counted() -> None:
    scrape = Scrape()
    for event in (samples.renewed(), samples.renewal_failed(), samples.renewal_failed()):
        scrape.observer(event)
    scrape.observer(samples.expiring(datetime.timedelta(days=1)))
    assert scrape.value("identity_renewals_total", result="completed") == 1
    assert scrape.value("identity_renewals_total", result="renewal_refused") == 2
    assert scrape.value("identity_expiry_warnings_total") == 1


def test_the_number_of_hosts_is_bounded() -> None:
    scrape = Scrape()
    for number in range(1000):
        scrape.observer(samples.rejected(f"host{number}"))
    scrape.observer(samples.rejected("host5"))
    scrape.observer(samples.rejected("x" * 10_000))
    series = [name for name, _ in scrape.values() if name == "mtls_client_identity_refusals_total"]
    assert len(series) == 101
    labels = {"reason": "expired", "certain": "true"}
    assert scrape.value("identity_refusals_total", host="host5", **labels) == 2
    assert scrape.value("identity_refusals_total", host="other", **labels) == 901


@pytest.mark.parametrize("host", ['a"b', "a\nb", "\\", "\x1b[31m", "", "é"])
def test_a_hostile_host_stays_a_label(host: str) -> None:
    scrape = Scrape()
    scrape.observer(samples.rejected(host))
    labels = {"reason": "expired", "certain": "true"}
    assert scrape.value("identity_refusals_total", host=host, **labels) == 1


def test_a_watched_credential_may_go_and_is_followed_meanwhile(tmp_path: Path, ca: CA) -> None:
    for made in (Scrape(), Reader()):
        name = "identity_not_after_timestamp_seconds" if isinstance(made, Scrape) else None
        name = name or "identity.not_after"
        first = ca.issue("first")
        second = ca.issue("second", not_after=first.not_after + datetime.timedelta(hours=1))
        credential = mtls.Credential(write(tmp_path, first))
        made.observer.watch("orders", credential)
        assert made.value(name, identity="orders") == first.not_after.timestamp()
        write(tmp_path, second)
        credential.reload()
        assert made.value(name, identity="orders") == second.not_after.timestamp()
        del credential
        gc.collect()
        assert made.value(name, identity="orders") is None


def test_a_credential_that_cannot_be_loaded_does_not_break_a_scrape(tmp_path: Path) -> None:
    scrape = Scrape()
    credential = mtls.Credential(mtls.FileSource(tmp_path / "absent.pem"), deferred=True)
    scrape.observer.watch("orders", credential)
    assert scrape.value("identity_not_after_timestamp_seconds", identity="orders") is None
    assert scrape.value("identity_expiry_warnings_total") == 0


def test_one_observer_for_a_registry() -> None:
    registry = CollectorRegistry()
    Prometheus(registry)
    with pytest.raises(mtls.ConfigurationError) as caught:
        Prometheus(registry)
    assert caught.value.code == "metrics_registered"


def test_without_an_sdk_nothing_happens() -> None:
    OpenTelemetry()(samples.completed())


@pytest.mark.parametrize(
    ("make", "module", "extra"),
    [
        (Prometheus, "prometheus_client", "prometheus"),
        (OpenTelemetry, "opentelemetry.metrics", "opentelemetry"),
    ],
)
def test_without_the_extra_the_error_names_it(
    make: Callable[[], object], module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(mtls.MissingExtraError) as caught:
        make()
    assert f"mtls-client[{extra}]" in str(caught.value.hint)
