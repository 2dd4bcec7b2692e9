"""`LogEvents`: one line for an event, at a level that fits it, with its fields."""

from __future__ import annotations

import dataclasses
import datetime
import logging

import pytest

import mtls_client as mtls
from mtls_client import events
from mtls_client.observers import LogEvents
from mtls_client.testing import Server
from tests.clients import KINDS, fetch
from tests.observers import samples

HOUR = datetime.timedelta(hours=1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_is_a_line_with_its_fields(
    kind: str,
    server: Server,
    identity: mtls.Identity,
    trust: mtls.Trust,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG, "mtls_client.events"):
        fetch(kind, identity, server.url, trust=trust, observers=[LogEvents()])
    [record] = caplog.records
    assert record.levelno == logging.DEBUG
    assert record.getMessage().startswith("connected to localhost")
    assert record.getMessage().endswith(f"by TLSv1.3 with certificate {identity.serial}")
    fields = vars(record)
    assert fields["mtls_event"] == "HandshakeCompleted"
    assert fields["mtls_fingerprint"] == identity.fingerprint
    assert fields["mtls_at"].endswith("Z")


@pytest.mark.parametrize(
    ("event", "level", "message"),
    [
        (samples.completed(port=None), "DEBUG", "connected to api.example.com by TLSv1.3 with"),
        (samples.rejected(), "ERROR", "api.example.com refused certificate 1f: expired"),
        (samples.mismatched(), "ERROR", "api.example.com presented none of the pinned keys"),
        (samples.reloaded(), "INFO", "identity reloaded: 2f until 2026-11-25T12:00:00"),
        (samples.renewed(), "INFO", "identity renewed: 2f until 2026-11-25"),
        (samples.renewal_failed(), "WARNING", "identity not renewed: the issuer says no; next try"),
        (
            dataclasses.replace(samples.renewal_failed(), retry_in=None),
            "WARNING",
            "identity not renewed: the issuer says no; nobody tries again",
        ),
        (
            dataclasses.replace(samples.renewed(), saved=False),
            "INFO",
            "identity renewed, in memory only: 2f until",
        ),
        (
            events.IdentitySaved(fingerprint="ab", serial="2f"),
            "INFO",
            "renewed identity saved: 2f",
        ),
        (samples.expiring(HOUR), "WARNING", "identity expires soon: 1f at"),
        (samples.expiring(-HOUR), "WARNING", "identity expired: 1f at"),
        (
            events.UnverifiedConnection(host="h", fingerprint=None, serial=None),
            "WARNING",
            "connected to h without verifying it",
        ),
        (
            events.ReloadFailed(code="c", message="no such file", attempts=1, retry_in=2.0),
            "WARNING",
            "identity kept, the source is bad: no such file; next try in 2 s",
        ),
        (
            events.GenerationDrained(generation=1, fingerprint="ab", serial="1f"),
            "INFO",
            "identity not used any more: 1f",
        ),
        (
            events.HandshakeFailed(
                host="h", fingerprint=None, serial=None, code="c", message="the reason\n  and more"
            ),
            "WARNING",
            "no connection to h with no certificate: the reason",
        ),
        (events.Event(), "INFO", "Event"),
    ],
)
def test_levels_and_messages(
    event: events.Event, level: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "mtls_client.events"):
        LogEvents()(event)
    [record] = caplog.records
    assert record.levelname == level
    assert record.getMessage().startswith(message)


def test_every_kind_of_event_has_a_message(caplog: pytest.LogCaptureFixture) -> None:
    """A new kind of event is not forgotten here."""
    from mtls_client.observers import logging as module

    kinds = {getattr(events, name) for name in events.__all__}
    kinds = {kind for kind in kinds if isinstance(kind, type) and kind is not events.Event}
    assert set(module._LEVELS) == kinds


def test_levels_and_logger_are_the_users(caplog: pytest.LogCaptureFixture) -> None:
    observer = LogEvents(logging.getLogger("orders"), {events.HandshakeCompleted: logging.WARNING})
    observer(samples.completed())
    observer(samples.reloaded())  # INFO, which the root logger leaves out
    [record] = caplog.records
    assert (record.name, record.levelname) == ("orders", "WARNING")


@pytest.mark.parametrize("character", "\n\r\x1b\x00\x85\u2028\u202e\ud800")
def test_no_host_and_no_message_begins_a_line_or_moves_the_cursor(
    character: str, caplog: pytest.LogCaptureFixture
) -> None:
    hostile = f"a{character}CRITICAL forged"
    with caplog.at_level(logging.DEBUG, "mtls_client.events"):
        LogEvents()(samples.completed(hostile))
        LogEvents()(
            events.HandshakeFailed(
                host=hostile, fingerprint=None, serial=None, code=hostile, message=hostile
            )
        )
        LogEvents()(
            events.PinMismatch(
                host="h",
                fingerprint=None,
                serial=None,
                configured=(),
                presented=((hostile, "p"),),
                enforced=True,
            )
        )
    for record in caplog.records:
        for value in (record.getMessage(), *map(str, vars(record).values())):
            assert character not in value
    assert "CRITICAL" in caplog.text


def test_a_huge_host_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "mtls_client.events"):
        LogEvents()(samples.completed("x" * 10**6))
    [record] = caplog.records
    assert len(vars(record)["mtls_host"]) < 1100
    assert len(record.getMessage()) < 1100


def test_nothing_is_made_of_an_event_that_is_not_logged() -> None:
    logger = logging.getLogger("quiet")
    logger.setLevel(logging.CRITICAL)
    LogEvents(logger)(None)  # type: ignore[arg-type]
