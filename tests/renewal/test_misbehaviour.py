"""What renewers, sources, hooks and clocks should not do, and what becomes of it: nothing."""

from __future__ import annotations

import datetime
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import mtls_client as mtls
from mtls_client.errors import LockTimeoutError, RenewalError, RenewalRefusedError
from mtls_client.events import Event, IdentityReloaded, IdentityRenewed, RenewalFailed
from mtls_client.renewers import RenewalWindow
from mtls_client.testing import CA
from tests.renewal.issuing import DAY, Issuer, due, fresh, now
from tests.renewal.layouts import pair
from tests.rotation.test_credential import until


class Stored:
    """A source that can be written, and whose changes nobody can see but by loading it."""

    def __init__(self, identity: mtls.Identity, lock: Path) -> None:
        self.identity, self.lock = identity, lock

    def load(self) -> mtls.Identity:
        return self.identity

    def check_savable(self) -> None:
        return None

    def save(self, identity: mtls.Identity) -> None:
        self.identity = identity


class Clock:
    """The wall clock of a credential's renewals."""

    def __init__(self, credential: mtls.Credential) -> None:
        self.ahead = datetime.timedelta()
        assert credential._renewal is not None
        self._credential, self._renewal = credential, credential._renewal
        self._renewal._clock = lambda: now() + self.ahead

    def step(self, ahead: datetime.timedelta) -> None:
        """Do what the thread does at a moment."""
        self.ahead = ahead
        self._renewal.step(self._credential)


def failing(error: BaseException) -> Callable[[], object]:
    def fail() -> None:
        raise error

    return fail


def failures(events: list[Event]) -> list[RenewalFailed]:
    return [event for event in events if isinstance(event, RenewalFailed)]


# --- renewers


def test_a_renewer_that_ends_its_thread_fails_and_no_more(ca: CA, tmp_path: Path) -> None:
    events: list[Event] = []
    renewer = Issuer(ca, fails=sys.exit)
    with mtls.Credential(pair(tmp_path, due(ca)), renewer=renewer, observers=[events.append]):
        until(lambda: failures(events))
        assert failures(events)[0].code == "renewer_failed"
        assert any(one.name == "mtls-client renew" for one in threading.enumerate())


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), -1.0, 1e30])
def test_an_issuer_is_left_alone_for_a_day_at_most(seconds: float, ca: CA, tmp_path: Path) -> None:
    events: list[Event] = []
    renewer = Issuer(ca, fails=failing(RenewalError("busy", retry_after=seconds)))
    source = pair(tmp_path, due(ca))
    with mtls.Credential(source, renewer=renewer, observers=[events.append]):
        until(lambda: failures(events))
    waits = failures(events)[0].retry_in
    assert waits is not None
    assert 60 <= waits <= 86_400


def test_a_window_that_is_none_leaves_it_to_the_policy(ca: CA, tmp_path: Path) -> None:
    class Scheduled(Issuer):
        def window(self, current: mtls.Identity) -> RenewalWindow:
            return "soon"  # type: ignore[return-value]

    old = due(ca)
    with mtls.Credential(pair(tmp_path, old), renewer=Scheduled(ca)) as credential:
        until(lambda: credential.generation == 2)
        assert credential.renewal_due == mtls.RenewalPolicy().due(credential.identity)


@pytest.mark.parametrize("retry_after", [-1.0, float("nan")])
def test_a_window_says_where_and_when(retry_after: float) -> None:
    RenewalWindow(now(), now())
    for wrong in (
        lambda: RenewalWindow(now().replace(tzinfo=None), now()),
        lambda: RenewalWindow(now(), now(), retry_after),
    ):
        with pytest.raises(mtls.ConfigurationError) as caught:
            wrong()
        assert caught.value.code == "renewal_window"


def test_what_cannot_be_taken_over_is_issued_less_and_less_often(ca: CA, tmp_path: Path) -> None:
    """A context may be unable to present what an issuer has begun to issue."""
    old, events = due(ca), list[Event]()
    credential = mtls.Credential(
        pair(tmp_path, old), renewer=Issuer(ca), auto=False, observers=[events.append]
    )

    class Picky:
        def prepare(self, identity: mtls.Identity) -> None:
            if identity.fingerprint != old.fingerprint:
                raise mtls.IdentityError("OpenSSL does not like it")

        def drain(self, generation: object) -> None:
            return None

    user = Picky()
    credential.attach(user)
    for _ in range(3):
        with pytest.raises(RenewalError, match="OpenSSL does not like it") as caught:
            credential.renew()
        assert caught.value.code == "renewal_reload"
    assert [event.attempts for event in failures(events)] == [1, 2, 3]
    assert credential.identity.fingerprint == old.fingerprint


# --- sources


def test_a_load_that_is_under_way_does_not_lose_what_is_issued_meanwhile(
    ca: CA, tmp_path: Path
) -> None:
    """It began when there was nothing to keep, and ends when there is."""
    loaded, go_on = threading.Event(), threading.Event()

    class Slow(Stored):
        def load(self) -> mtls.Identity:
            if threading.current_thread().name == "reloading":
                loaded.set()
                assert go_on.wait(10)
            return self.identity

        def save(self, identity: mtls.Identity) -> None:
            go_on.set()
            reloading.join(10)
            raise mtls.IdentityError("the disk is full", code="save_failed")

    def renew(current: mtls.Identity) -> mtls.Identity:
        reloading.start()
        assert loaded.wait(10)
        return new

    old, new, events = due(ca), fresh(ca), list[Event]()
    credential = mtls.Credential(
        Slow(old, tmp_path / "lock"), renewer=renew, observers=[events.append]
    )
    reloading = threading.Thread(target=credential.reload, name="reloading")
    assert credential.renew().fingerprint == new.fingerprint
    told = next(event for event in events if isinstance(event, IdentityRenewed))
    assert not told.saved
    assert credential.reload().fingerprint == new.fingerprint


def test_who_has_waited_looks_again_where_no_change_can_be_seen(ca: CA, tmp_path: Path) -> None:
    source, renewer = Stored(due(ca), tmp_path / "lock"), Issuer(ca)
    first, second = (mtls.Credential(source, renewer=renewer) for _ in range(2))
    assert second.renew().fingerprint == first.renew().fingerprint
    assert len(renewer.renewed) == 1


def test_an_unsaved_identity_stays_whatever_the_source_raises(ca: CA, tmp_path: Path) -> None:
    class Broken(Stored):
        broken = False

        def load(self) -> mtls.Identity:
            if self.broken:
                raise OSError("gone")
            return self.identity

        def save(self, identity: mtls.Identity) -> None:
            self.broken = True
            raise OSError("gone")

    credential = mtls.Credential(Broken(due(ca), tmp_path / "lock"), renewer=Issuer(ca))
    old = credential.identity
    assert credential.renew().fingerprint != old.fingerprint


def test_without_a_place_for_a_lock_it_is_told_and_not_tried_all_the_time(
    ca: CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("mtls_client._kept.locked", nowhere)
    events, renewer = list[Event](), Issuer(ca)
    source = pair(tmp_path, due(ca))
    with mtls.Credential(source, renewer=renewer, observers=[events.append]):
        until(lambda: failures(events))
    (told,) = failures(events)
    assert (told.code, renewer.renewed) == ("renewal_lock", [])
    assert told.retry_in is not None
    assert told.retry_in >= 60


# --- hooks


def test_a_hook_that_renews_what_is_being_renewed_waits_for_nobody(ca: CA, tmp_path: Path) -> None:
    refused: list[Exception] = []

    def on_expiring(_: object) -> None:
        try:
            credential.renew()
        except LockTimeoutError as error:
            refused.append(error)

    renewer = Issuer(ca)
    credential = mtls.Credential(pair(tmp_path, due(ca)), renewer=renewer, on_expiring=on_expiring)
    with credential:
        until(lambda: credential.generation == 2)
    assert len(refused) == len(renewer.renewed) == 1
    assert "already" in str(refused[0])


def test_hooks_are_called_when_no_lock_is_held(ca: CA, tmp_path: Path) -> None:
    """Another thread may want to renew or reload before the hook returns."""
    found: list[str] = []

    def hook(event: Event) -> None:
        if isinstance(event, IdentityReloaded | IdentityRenewed):
            other = threading.Thread(target=ask)
            other.start()
            other.join(10)
            assert not other.is_alive()

    def ask() -> None:
        credential.reload()
        found.append(credential.renew(only_if_due=True).fingerprint)

    credential = mtls.Credential(pair(tmp_path, due(ca)), renewer=Issuer(ca), observers=[hook])
    new = credential.renew()
    assert found == [new.fingerprint] * 2


def test_a_hook_may_use_the_identity_that_has_replaced_an_expired_one(
    ca: CA, tmp_path: Path, expired_identity: mtls.Identity
) -> None:
    found: list[str] = []
    credential = mtls.Credential(
        pair(tmp_path, expired_identity),
        renewer=Issuer(ca),
        deferred=True,
        on_renewed=lambda event: found.append(credential.identity.fingerprint),
    )
    first_use = threading.Thread(target=credential.refresh, daemon=True)
    first_use.start()
    first_use.join(20)
    assert not first_use.is_alive()
    assert found == [credential.identity.fingerprint]


# --- clocks


def test_a_clock_that_was_set_back_does_not_hold_up_the_next_attempt(
    ca: CA, tmp_path: Path
) -> None:
    renewer = Issuer(ca, fails=failing(RenewalRefusedError("no")))
    clock = Clock(mtls.Credential(pair(tmp_path, due(ca)), renewer=renewer))
    clock.step(3 * DAY)
    clock.step(3 * DAY)
    assert len(renewer.renewed) == 1, "it pauses"
    clock.step(0 * DAY)
    assert len(renewer.renewed) == 2


def test_a_pause_is_not_for_the_identity_that_somebody_else_has_put_there(
    ca: CA, tmp_path: Path
) -> None:
    renewer = Issuer(ca, fails=failing(RenewalRefusedError("no")))
    credential = mtls.Credential(pair(tmp_path, due(ca)), renewer=renewer)
    clock = Clock(credential)
    clock.step(0 * DAY)
    pair(tmp_path, due(ca))
    credential.reload()
    clock.step(datetime.timedelta(seconds=1))
    assert len(renewer.renewed) == 1, "nor is it tried at once"
    clock.step(datetime.timedelta(minutes=2))
    assert len(renewer.renewed) == 2
