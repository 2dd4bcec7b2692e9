"""A credential has its identity renewed in time, saves it, and loses nothing when that fails."""

from __future__ import annotations

import datetime
import gc
import os
import threading
import time
import traceback
import weakref
from pathlib import Path
from typing import Any

import pytest

import mtls_client as mtls
from mtls_client.errors import LockTimeoutError, RenewalError, RenewalRefusedError
from mtls_client.events import (
    Event,
    IdentityExpiring,
    IdentityReloaded,
    IdentityRenewed,
    IdentitySaved,
    RenewalFailed,
)
from mtls_client.identity import IdentityWarning
from mtls_client.renewers import RenewalWindow
from mtls_client.testing import CA, Server
from tests.renewal.issuing import DAY, Issuer, due, fresh, now
from tests.renewal.layouts import kubernetes_names, pair
from tests.rotation.test_credential import until


def kinds(events: list[Event]) -> list[type[Event]]:
    return [type(event) for event in events]


class Down:
    """What stands in the way of an issuance until it is told to go."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def issuer(ca: CA) -> Issuer:
    return Issuer(ca)


def test_a_function_in_three_lines_renews(ca: CA, tmp_path: Path) -> None:
    def renew(current: mtls.Identity) -> mtls.Identity:
        return ca.issue("client", key="rsa")

    source = pair(tmp_path, fresh(ca))
    renewed = mtls.Credential(source, renewer=renew).renew()
    assert (renewed.key_type, source.load().fingerprint) == ("RSA", renewed.fingerprint)


def test_an_identity_that_is_due_is_renewed_without_being_asked(
    ca: CA, issuer: Issuer, tmp_path: Path
) -> None:
    """Subject and kind of key stay; the key is another; all is saved, and told in order."""
    old, events = due(ca), list[Event]()
    source = pair(tmp_path, old)
    with mtls.Credential(source, renewer=issuer, observers=[events.append]) as credential:
        until(lambda: IdentityRenewed in kinds(events))
        new = credential.identity
    changes = [one for one in events if isinstance(one, IdentityReloaded | IdentityRenewed)]
    assert kinds(changes) == [IdentityReloaded, IdentityRenewed]
    told = changes[-1]
    assert isinstance(told, IdentityRenewed)
    assert (told.replaced, told.fingerprint) == (old.fingerprint, new.fingerprint)
    assert (told.renewer, told.saved) == ("Issuer", True)
    assert (new.subject, new.key_type) == (old.subject, old.key_type)
    assert new.pin != old.pin
    assert source.load().fingerprint == new.fingerprint
    assert len(issuer.renewed) == 1


def test_the_first_session_starts_it(
    ca: CA, issuer: Issuer, server: Server, trust: mtls.Trust, tmp_path: Path
) -> None:
    credential = mtls.Credential(pair(tmp_path, due(ca)), renewer=issuer)
    time.sleep(0.05)
    assert issuer.renewed == [], "nobody uses it yet"
    with mtls.Session(credential, trust=trust) as session:
        until(lambda: credential.generation == 2)
        session.get(server.url)
    credential.close()
    assert server.calls[-1].fingerprint == credential.identity.fingerprint


def test_what_is_not_due_is_left_alone(ca: CA, issuer: Issuer, tmp_path: Path) -> None:
    looked = threading.Event()

    class Looking(Issuer):
        def window(self, current: mtls.Identity) -> None:
            looked.set()

    renewer = Looking(ca)
    with mtls.Credential(pair(tmp_path, fresh(ca)), renewer=renewer) as credential:
        assert looked.wait(10), "the thread has come to the question whether it is due"
        assert credential.generation == 1
    assert renewer.renewed == []


def test_auto_off_renews_only_when_asked(ca: CA, issuer: Issuer, tmp_path: Path) -> None:
    before = threading.active_count()
    with mtls.Credential(pair(tmp_path, due(ca)), renewer=issuer, auto=False) as credential:
        assert threading.active_count() == before, "no thread"
        credential.renew()
        assert credential.generation == 2
    assert len(issuer.renewed) == 1


def test_if_due_asks_the_policy(ca: CA, issuer: Issuer, tmp_path: Path) -> None:
    late = mtls.Credential(pair(tmp_path, due(ca)), renewer=issuer, auto=False)
    assert late.renewal_due < now()
    assert late.renew(only_if_due=True) is late.identity
    assert late.generation == 2
    assert late.renewal_due > now()
    late.renew(only_if_due=True)
    assert len(issuer.renewed) == 1


def test_the_issuers_window_is_obeyed(ca: CA, tmp_path: Path) -> None:
    """A window in the past renews at once what the policy would leave for weeks."""

    class Scheduled(Issuer):
        def window(self, current: mtls.Identity) -> RenewalWindow | None:
            if current.fingerprint != first.fingerprint:
                return None
            return RenewalWindow(now() - DAY, now() - DAY / 2)

    first = fresh(ca)
    renewer = Scheduled(ca)
    with mtls.Credential(pair(tmp_path, first), renewer=renewer) as credential:
        until(lambda: credential.generation == 2)
    assert [one.fingerprint for one in renewer.renewed] == [first.fingerprint]


def test_a_failure_keeps_the_identity_says_so_and_is_tried_again(ca: CA, tmp_path: Path) -> None:
    down, events, hooked = Down(RenewalError("it is down")), list[Event](), list[RenewalFailed]()
    begin = now() - datetime.timedelta(seconds=40)  # so short a life is tried again within seconds
    old = ca.issue("client", not_before=begin, not_after=begin + datetime.timedelta(seconds=60))
    with mtls.Credential(
        pair(tmp_path, old),
        renewer=Issuer(ca, fails=down),
        observers=[events.append],
        on_renewal_failed=hooked.append,
    ) as credential:
        until(lambda: down.calls >= 3)
        assert credential.identity.fingerprint == old.fingerprint
        down.error = None
        until(lambda: credential.generation == 2)
    failed = [event for event in events if isinstance(event, RenewalFailed)]
    assert hooked == failed
    assert [event.attempts for event in failed] == list(range(1, len(failed) + 1))
    assert (failed[0].code, failed[0].message, failed[0].retryable) == (
        "renewal",
        "it is down",
        True,
    )
    assert failed[0].retry_in is not None
    assert kinds(events)[-1] is IdentityRenewed


@pytest.mark.parametrize(
    ("error", "retryable", "least"),
    [
        (RenewalError("busy"), True, 60.0),
        (RenewalError("busy", retry_after=7200), True, 7200.0),
        (RenewalRefusedError("no"), False, 6 * 3600.0),
    ],
)
def test_the_kind_of_failure_decides_when_to_try_again(
    error: RenewalError, retryable: bool, least: float, ca: CA, tmp_path: Path
) -> None:
    events: list[Event] = []
    renewer = Issuer(ca, fails=Down(error))
    with mtls.Credential(pair(tmp_path, due(ca)), renewer=renewer, observers=[events.append]):
        until(lambda: RenewalFailed in kinds(events))
    told = next(event for event in events if isinstance(event, RenewalFailed))
    assert told.retryable is retryable
    assert told.retry_in is not None
    assert least <= told.retry_in <= 1.5 * least
    assert len(renewer.renewed) == 1


def test_by_hand_a_failure_is_raised(ca: CA, tmp_path: Path) -> None:
    events: list[Event] = []
    renewer = Issuer(ca, fails=Down(RenewalRefusedError("no such role", hint="make it")))
    old = due(ca)
    credential = mtls.Credential(pair(tmp_path, old), renewer=renewer, observers=[events.append])
    with pytest.raises(RenewalRefusedError, match="no such role"):
        credential.renew()
    assert credential.identity.fingerprint == old.fingerprint
    told = events[-1]
    assert isinstance(told, RenewalFailed)
    assert told.retry_in is None, "no thread will"


def test_what_a_renewer_raises_reaches_no_event(ca: CA, tmp_path: Path) -> None:
    """The text of an error that is not ours may hold a token; its traceback is the cause."""
    events: list[Event] = []
    credential = mtls.Credential(
        pair(tmp_path, due(ca)),
        renewer=Issuer(ca, fails=Down(KeyError("token hvs.secret"))),
        observers=[events.append],
    )
    with pytest.raises(RenewalError) as caught:
        credential.renew()
    assert caught.value.code == "renewer_failed"
    assert "hvs.secret" not in str(caught.value) + repr(events)
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("nothing", "renewer_type"),
        ("the same", "renewal_same"),
        ("expired", "identity_expired"),
        ("for servers", "identity_purpose"),
    ],
)
def test_an_answer_that_cannot_be_used_changes_nothing(
    answer: str, code: str, ca: CA, expired_identity: mtls.Identity, tmp_path: Path
) -> None:
    old = due(ca)
    answers: dict[str, Any] = {
        "nothing": None,
        "the same": old,
        "expired": expired_identity,
        "for servers": ca.issue("client", client=False, server=True),
    }
    source = pair(tmp_path, old)
    credential = mtls.Credential(source, renewer=lambda _: answers[answer])
    with pytest.raises(RenewalError) as caught:
        credential.renew()
    assert caught.value.code == code
    assert caught.value.hint
    assert credential.identity.fingerprint == source.load().fingerprint == old.fingerprint


def test_not_a_renewer(ca: CA) -> None:
    with pytest.raises(mtls.ConfigurationError) as caught:
        mtls.Credential(fresh(ca), renewer="vault")  # type: ignore[arg-type]
    assert caught.value.code == "renewer_type"
    with pytest.raises(mtls.ConfigurationError) as caught:
        mtls.Credential(fresh(ca)).renew()
    assert caught.value.code == "renewer_missing"


# --- where it cannot be saved


def test_an_identity_that_cannot_be_saved_is_used_and_saved_later(
    ca: CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even a reload goes back to the old one, which the source still holds."""
    from mtls_client._os import files

    replace, full = files.replace, threading.Event()
    full.set()

    def writing(path: Path, data: bytes, **options: Any) -> None:
        if full.is_set():
            raise OSError(28, "No space left on device", str(path))
        replace(path, data, **options)

    monkeypatch.setattr(files, "replace", writing)
    events: list[Event] = []
    begin = now() - datetime.timedelta(seconds=30)
    old = ca.issue("client", not_before=begin, not_after=begin + datetime.timedelta(seconds=55))
    source = pair(tmp_path, old)
    renewer = Issuer(ca, life=datetime.timedelta(seconds=55))
    with mtls.Credential(source, renewer=renewer, observers=[events.append]) as credential:
        until(lambda: RenewalFailed in kinds(events))
        new = credential.identity
        told = next(event for event in events if isinstance(event, IdentityRenewed))
        failed = next(event for event in events if isinstance(event, RenewalFailed))
        assert (told.saved, failed.code) == (False, "save_failed")
        assert source.load().fingerprint == old.fingerprint
        assert credential.reload().fingerprint == new.fingerprint
        credential.refresh(now=True)
        assert credential.identity.fingerprint == new.fingerprint
        full.clear()
        until(lambda: IdentitySaved in kinds(events))
        assert source.load().fingerprint == new.fingerprint
        assert credential.generation == 2
    assert len(renewer.renewed) == 1


def test_a_newer_identity_in_the_source_takes_the_place_of_an_unsaved_one(
    ca: CA, issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = pair(tmp_path, due(ca))
    credential = mtls.Credential(source, renewer=issuer)
    with monkeypatch.context() as patch:
        patch.setattr("mtls_client._os.files.replace", _full)
        unsaved = credential.renew()
    newest = fresh(ca)
    source.save(newest)
    assert credential.reload().fingerprint == newest.fingerprint != unsaved.fingerprint


def _full(path: Path, _data: bytes, **_options: object) -> None:
    raise OSError(28, "No space left on device", str(path))


def test_a_source_that_cannot_be_written_is_named_at_once(ca: CA, issuer: Issuer) -> None:
    """And renewal goes on in memory, through more than one renewal."""
    old = due(ca)
    environ = {
        "X_CERT": old.certificate_pem().decode(),
        "X_KEY": old.private_key_pem().decode(),
    }
    source = mtls.EnvironmentSource("X_", environ=environ)
    with pytest.warns(IdentityWarning, match="cannot be saved here"):
        credential = mtls.Credential(source, renewer=issuer)
    first = credential.renew()
    second = credential.renew()
    assert len({old.fingerprint, first.fingerprint, second.fingerprint}) == 3
    assert credential.reload().fingerprint == second.fingerprint
    assert [one.fingerprint for one in issuer.renewed] == [old.fingerprint, first.fingerprint]


def test_a_value_is_renewed_in_memory_without_complaint(ca: CA, issuer: Issuer) -> None:
    events: list[Event] = []
    credential = mtls.Credential(due(ca), renewer=issuer, observers=[events.append])
    new = credential.renew()
    assert credential.reload().fingerprint == new.fingerprint
    assert RenewalFailed not in kinds(events)


def test_the_roots_beside_an_identity_stay_though_it_is_not_saved(
    ca: CA, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or else a session that trusts them could trust nobody."""
    source = kubernetes_names(tmp_path, due(ca))
    credential = mtls.Credential(source, renewer=Issuer(ca))
    with mtls.Session(credential, trust=mtls.Trust.of_identity()) as session:
        monkeypatch.setattr("mtls_client._os.files.replace", _full)
        new = credential.renew()
        assert source.load().fingerprint != new.fingerprint
        assert session.get(server.url).ok
    credential.close()
    assert server.calls[-1].fingerprint == new.fingerprint


def test_a_program_may_write_the_files_itself(ca: CA, tmp_path: Path) -> None:
    """What is there already is not written again."""
    source = pair(tmp_path, due(ca))
    stamps = []

    def renew(current: mtls.Identity) -> mtls.Identity:
        pair(tmp_path, fresh(ca))
        stamps.append((tmp_path / "client.crt").stat().st_mtime_ns)
        return source.load()

    credential = mtls.Credential(source, renewer=renew)
    new = credential.renew()
    assert source.load().fingerprint == new.fingerprint
    assert stamps == [(tmp_path / "client.crt").stat().st_mtime_ns]


# --- expired, expiring


def test_an_expired_identity_is_renewed_before_it_is_used(
    ca: CA, issuer: Issuer, tmp_path: Path, expired_identity: mtls.Identity
) -> None:
    """After a long downtime; without a renewer it is refused, and so is one that stays expired."""
    source = pair(tmp_path, expired_identity)
    with pytest.raises(mtls.IdentityExpiredError):
        mtls.Credential(source)
    down = Issuer(ca, fails=Down(RenewalError("it is down", hint="start it")))
    with pytest.raises(mtls.IdentityExpiredError, match="could not be renewed: it is down") as told:
        mtls.Credential(source, renewer=down)
    assert told.value.hint == "start it"
    credential = mtls.Credential(source, renewer=issuer)
    assert credential.identity.expires_in() > DAY
    assert source.load().fingerprint == credential.identity.fingerprint


def test_the_end_is_announced_once_for_each_threshold(ca: CA, tmp_path: Path) -> None:
    """With or without a renewer; one that has passed long ago is told at the first look."""
    told: list[IdentityExpiring] = []
    old = ca.issue("client", not_before=now() - 85 * DAY, not_after=now() + 5 * DAY)
    credential = mtls.Credential(pair(tmp_path, old), poll_interval=0.01, on_expiring=told.append)
    for _ in range(3):
        time.sleep(0.02)
        credential.refresh()
    assert len(told) == 1
    assert told[0].fingerprint == old.fingerprint
    assert 4 * DAY < told[0].remaining < 5 * DAY
    pair(tmp_path, fresh(ca))
    credential.reload()
    assert len(told) == 1


def test_a_hook_that_raises_stops_nothing(
    ca: CA, issuer: Issuer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def hook(event: IdentityRenewed) -> None:
        raise RuntimeError("in the hook")

    source = pair(tmp_path, due(ca))
    new = mtls.Credential(source, renewer=issuer, on_renewed=hook).renew()
    assert source.load().fingerprint == new.fingerprint
    assert "in the hook" in caplog.text


# --- threads


def test_threads_that_renew_at_once_renew_once(ca: CA, tmp_path: Path) -> None:
    gate = threading.Barrier(8)
    renewer = Issuer(ca, fails=lambda: time.sleep(0.1))
    credential = mtls.Credential(pair(tmp_path, due(ca)), renewer=renewer)

    found: list[str] = []

    def work() -> None:
        gate.wait(10)
        found.append(credential.renew().fingerprint)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(renewer.renewed) == 1
    assert found == [credential.identity.fingerprint] * 8


def test_requests_go_on_while_the_issuer_takes_its_time(
    ca: CA, server: Server, trust: mtls.Trust, tmp_path: Path
) -> None:
    asked, answer = threading.Event(), threading.Event()

    def slow() -> None:
        asked.set()
        assert answer.wait(30)

    credential = mtls.Credential(pair(tmp_path, due(ca)), renewer=Issuer(ca, fails=slow))
    with credential, mtls.Session(credential, trust=trust) as session:
        assert asked.wait(10)
        for _ in range(3):
            assert session.get(server.url).ok
        assert credential.generation == 1
        answer.set()
        until(lambda: credential.generation == 2)
        assert session.get(server.url).ok
    assert server.calls[-1].fingerprint == credential.identity.fingerprint


def test_the_thread_ends_with_the_credential(ca: CA, issuer: Issuer, tmp_path: Path) -> None:
    def running() -> list[str]:
        return [one.name for one in threading.enumerate() if "renew" in one.name]

    with mtls.Credential(pair(tmp_path, fresh(ca)), renewer=issuer):
        until(running)
    assert running() == []
    gone = weakref.ref(mtls.Credential(pair(tmp_path, fresh(ca)), renewer=issuer).__enter__())
    until(lambda: gc.collect() is not None and gone() is None)


def test_a_forked_child_renews_by_itself_and_the_parent_too(ca: CA, tmp_path: Path) -> None:
    """The child has a thread of its own; a closed credential stays closed."""
    credential = mtls.Credential(pair(tmp_path, fresh(ca)), renewer=Issuer(ca))
    closed = mtls.Credential(pair(tmp_path, fresh(ca)), renewer=Issuer(ca))
    with closed:
        pass
    with credential:
        until(lambda: any("renew" in one.name for one in threading.enumerate()))
        read, write = os.pipe()
        child = _fork()
        if child == 0:
            try:
                names = [one.name for one in threading.enumerate() if "renew" in one.name]
                os.write(write, ",".join(names).encode())
            except BaseException:
                os.write(write, traceback.format_exc().encode())
            os._exit(0)
        os.waitpid(child, 0)
        os.close(write)
        with open(read, "rb") as file:
            assert file.read().decode().split(",") == ["mtls-client renew"]


def _fork() -> int:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads are what is tested
        return os.fork()


def test_a_lock_is_not_kept_by_a_child_that_was_forked_meanwhile(tmp_path: Path) -> None:
    from mtls_client._os.locks import locked

    path = tmp_path / ".lock"
    go = os.pipe()
    with locked(path, 1):
        child = _fork()
        if child == 0:
            os.read(go[0], 1)  # lives on, with copies of all that the parent had open
            os._exit(0)
    try:
        with locked(path, 10):
            pass
    finally:
        os.write(go[1], b".")
        os.waitpid(child, 0)
        for end in go:
            os.close(end)


def test_a_lock_that_a_child_has_taken_already_is_its_own(tmp_path: Path) -> None:
    """Whatever is started over first in a child: its threads may be before its locks."""
    from mtls_client._os.locks import _held, locked

    with locked(tmp_path / ".lock", 1):
        _held.after_fork()
        with pytest.raises(TimeoutError), locked(tmp_path / ".lock", 0):
            pass
    with locked(tmp_path / ".lock", 0):
        pass


def test_another_holder_of_the_lock_is_waited_for_and_then_named(
    ca: CA, issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mtls_client._os.locks import locked

    monkeypatch.setattr("mtls_client._renewal._WAIT", 0.05)
    source = pair(tmp_path, due(ca))
    credential = mtls.Credential(source, renewer=issuer)
    with locked(source.lock, 1), pytest.raises(LockTimeoutError, match=r"client\.crt") as caught:
        credential.renew()
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.retryable
    assert issuer.renewed == []
    credential.renew()
    assert len(issuer.renewed) == 1


def test_a_holder_of_the_lock_that_hangs_is_told_of(
    ca: CA, issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else could renew, and the certificate would expire without a word."""
    from mtls_client._os.locks import locked

    monkeypatch.setattr("mtls_client._renewal._WAIT", 0.0)
    source, told = pair(tmp_path, due(ca)), list[RenewalFailed]()
    with locked(source.lock, 1):
        with mtls.Credential(source, renewer=issuer, on_renewal_failed=told.append):
            until(lambda: told)
    assert (told[0].code, told[0].retryable) == ("renewal_locked", True)
    assert issuer.renewed == []
