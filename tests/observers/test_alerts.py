"""`Alert`: an alarm where somebody should look, and never a storm of them."""

from __future__ import annotations

import datetime
import queue
import threading
from typing import Any

import pytest

import mtls_client as mtls
from mtls_client.events import IdentityRejected
from mtls_client.observers import Alarm, Alert, default_alerts
from mtls_client.testing import CA, Server
from tests.clients import fetch, native_errors
from tests.observers.samples import completed, expiring, mismatched, rejected
from tests.rotation.test_credential import until
from tests.rotation.test_processes import in_child

MINUTE = datetime.timedelta(minutes=1)
DAY = datetime.timedelta(days=1)


class Pager:
    """An action that keeps what it was told, and a clock that is set by hand."""

    def __init__(self) -> None:
        self.alarms: queue.Queue[Alarm[Any]] = queue.Queue()
        self.now = 0.0

    def __call__(self, alarm: Alarm[Any]) -> None:
        self.alarms.put(alarm)

    def clock(self) -> float:
        return self.now

    def rung(self) -> list[tuple[str | None, int]]:
        """Return subjects and silenced alarms, once the threads of the actions have ended."""
        until(lambda: not any(t.name == "mtls-client alarm" for t in threading.enumerate()))
        told = []
        while not self.alarms.empty():
            alarm = self.alarms.get()
            told.append((alarm.subject, alarm.silenced))
        return told


@pytest.fixture
def pager() -> Pager:
    return Pager()


def rule(pager: Pager, count: int = 3, **options: Any) -> Alert[IdentityRejected]:
    return Alert(IdentityRejected, pager, count=count, clock=pager.clock, **options)


def test_it_takes_so_many_within_the_window(pager: Pager) -> None:
    alert = rule(pager, window=MINUTE)
    for moment in (0, 30, 61):  # never three within a minute
        pager.now = moment
        alert(rejected())
    assert pager.rung() == []
    pager.now = 89
    alert(rejected())
    assert pager.rung() == [("api.example.com", 0)]


def test_other_kinds_and_what_where_leaves_out_do_not_count(pager: Pager) -> None:
    alert = rule(pager, 1, where=lambda event: event.reason == "revoked")
    alert(completed())
    alert(rejected(reason="expired"))
    assert pager.rung() == []
    alert(rejected(reason="revoked"))
    assert pager.rung() == [("api.example.com", 0)]


def test_hosts_are_counted_apart(pager: Pager) -> None:
    alert = rule(pager, 2)
    for host in ("a", "b", "c", "a"):
        alert(rejected(host))
    assert pager.rung() == [("a", 0)]


def test_an_alarm_is_followed_by_silence_about_its_subject(pager: Pager) -> None:
    alert = rule(pager, 1, quiet=MINUTE)
    for _ in range(1000):
        alert(rejected("a"))
    alert(rejected("b"))
    assert pager.rung() == [("a", 0), ("b", 999)]
    pager.now = 60
    alert(rejected("a"))
    assert pager.rung() == [("a", 0)]


def test_a_thousand_hosts_are_ten_alarms(pager: Pager) -> None:
    alert = rule(pager, 1, quiet=MINUTE)
    for number in range(1000):
        alert(rejected(f"host{number}"))
    assert len(pager.rung()) == 10
    pager.now = 60
    alert(rejected("later"))
    assert pager.rung() == [("later", 990)]


def test_memory_is_bounded_whatever_the_number_of_hosts(pager: Pager) -> None:
    alert = rule(pager, 5)
    for number in range(5000):
        alert(rejected(f"host{number}"))
    assert len(alert._subjects) == 1000


def test_an_action_that_raises_or_hangs_is_nobody_elses_trouble(
    caplog: pytest.LogCaptureFixture, pager: Pager
) -> None:
    release = threading.Event()

    def bad(alarm: Alarm[IdentityRejected]) -> None:
        release.wait(10)
        raise RuntimeError("no pager")

    alert = Alert(IdentityRejected, bad)
    alert(rejected())  # returns although the action does not
    release.set()
    assert pager.rung() == []
    assert "no pager" in caplog.text
    assert "<Alert: 1 IdentityRejected in 300 s>" in caplog.text


def test_an_alarm_tells_the_event(pager: Pager) -> None:
    event = rejected()
    rule(pager, 1)(event)
    alarm = pager.alarms.get(timeout=10)
    assert (alarm.event, alarm.subject, alarm.count) == (event, "api.example.com", 1)


@pytest.mark.parametrize(
    "options",
    [{"count": 0}, {"window": datetime.timedelta()}, {"quiet": -MINUTE}],
)
def test_what_is_no_rule(options: dict[str, Any]) -> None:
    with pytest.raises(mtls.ConfigurationError) as caught:
        Alert(IdentityRejected, print, **options)
    assert caught.value.code == "alert"


def test_the_default_rules(pager: Pager) -> None:
    def tell(*events: Any) -> list[tuple[str | None, int]]:
        for alert in default_alerts(pager):
            for event in events:
                alert(event)
        return pager.rung()

    assert tell(mismatched("a")) == [("a", 0)]
    assert tell(*[rejected("a")] * 4, completed("a")) == []
    assert tell(*[rejected("a")] * 5) == [("a", 0)]
    assert tell(expiring(28 * DAY, "ab")) == []
    assert tell(expiring(7 * DAY, "ab")) == [("ab", 0)]
    assert tell(expiring(-DAY, "ab")) == [("ab", 0)]


def test_real_refusals_and_mismatches_ring(
    pager: Pager, server: Server, identity: mtls.Identity, untrusted_identity: mtls.Identity, ca: CA
) -> None:
    rules = default_alerts(pager)
    pinned = mtls.Trust.from_pem(ca.pem, pins=["sha256/" + "A" * 43 + "="])
    with pytest.raises(native_errors("requests")):
        fetch("requests", identity, server.url, trust=pinned, observers=rules)
    assert pager.rung() == [("localhost", 0)]
    trust = mtls.Trust.from_pem(ca.pem)
    for _ in range(5):
        assert pager.rung() == []
        with pytest.raises(native_errors("httpx")):
            fetch("httpx", untrusted_identity, server.url, trust=trust, observers=rules)
    assert pager.rung() == [("localhost", 0)]


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_child_forked_while_the_lock_is_held_can_count(pager: Pager) -> None:
    alert = rule(pager, 2)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with alert._lock:
            held.set()
            release.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    try:
        assert in_child(lambda: str(alert(rejected()))) == "None"
    finally:
        release.set()
        thread.join(10)
