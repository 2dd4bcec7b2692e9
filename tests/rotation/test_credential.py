"""A credential takes over what is good, keeps what it has while it is not, and says so."""

from __future__ import annotations

import datetime
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import mtls_client as mtls
from mtls_client.events import Event, GenerationDrained, IdentityReloaded, ReloadFailed
from mtls_client.testing import CA
from tests.rotation.writing import replace, write

SOON = 0.02


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def polled(credential: mtls.Credential) -> mtls.Identity:
    """Return the identity after the next look at the source."""
    time.sleep(SOON)
    credential.refresh()
    return credential.identity


def test_a_change_is_noticed_at_the_next_use_after_the_interval(ca: CA, tmp_path: Path) -> None:
    first, second = ca.issue("first"), ca.issue("second", key="rsa")
    credential = mtls.Credential(write(tmp_path, first), poll_interval=SOON)
    write(tmp_path, second)
    assert credential.identity.fingerprint == first.fingerprint
    assert polled(credential).fingerprint == second.fingerprint
    assert credential.generation == 2


def test_nothing_is_read_within_the_interval(ca: CA, tmp_path: Path) -> None:
    credential = mtls.Credential(write(tmp_path, ca.issue("first")), poll_interval=60)
    write(tmp_path, ca.issue("second"))
    credential.refresh()
    assert credential.generation == 1
    credential.refresh(now=True)
    assert credential.generation == 2


def test_a_change_is_told_by_content_though_size_and_time_stay(ca: CA, tmp_path: Path) -> None:
    first = ca.issue("aaaa", key="ed25519")
    second = next(
        one
        for one in iter(lambda: ca.issue("bbbb", key="ed25519"), None)
        if len(one.certificate_pem()) == len(first.certificate_pem())
    )
    credential = mtls.Credential(write(tmp_path, first), poll_interval=SOON)
    for name, data in (
        ("tls.crt", second.certificate_pem()),
        ("tls.key", second.private_key_pem()),
    ):
        path = tmp_path / name
        was = path.stat()
        path.write_bytes(data)
        os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
        assert path.stat().st_size == was.st_size
    assert polled(credential).fingerprint == second.fingerprint


def test_the_same_identity_written_again_is_no_rotation(ca: CA, tmp_path: Path) -> None:
    identity = ca.issue("same")
    events: list[Event] = []
    credential = mtls.Credential(
        write(tmp_path, identity), poll_interval=SOON, observers=[events.append]
    )
    replace(tmp_path / "tls.crt", identity.certificate_pem() + b"\n# renewed: no\n")
    assert polled(credential) is credential.current().identity
    assert (credential.generation, events) == (1, [])


def damaged(folder: Path, how: str, ca: CA) -> None:
    certificate, key = folder / "tls.crt", folder / "tls.key"
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    match how:
        case "mismatched":
            replace(certificate, ca.issue("other").certificate_pem())
        case "truncated":
            certificate.write_bytes(certificate.read_bytes()[:200])
        case "empty":
            key.write_bytes(b"")
        case "garbage":
            certificate.write_bytes(os.urandom(500))
        case "deleted":
            certificate.unlink()
        case "folder":
            key.unlink()
            key.mkdir()
        case "expired":
            write(folder, ca.issue("old", not_before=past, not_after=past.replace(day=2)))


DAMAGE = {
    "mismatched": "key_mismatch",
    "truncated": "truncated",
    "empty": "empty",
    "garbage": "unknown_format",
    "deleted": "identity_not_found",
    "folder": "identity_folder",
    "expired": "identity_expired",
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_bad_source_keeps_the_last_good_identity_and_recovers(
    how: str, ca: CA, tmp_path: Path
) -> None:
    first, second = ca.issue("first"), ca.issue("second")
    events: list[Event] = []
    credential = mtls.Credential(
        write(tmp_path, first), poll_interval=SOON, observers=[events.append]
    )
    damaged(tmp_path, how, ca)
    assert polled(credential).fingerprint == first.fingerprint
    failed = events[0]
    assert isinstance(failed, ReloadFailed)
    assert (failed.code, failed.attempts) == (DAMAGE[how], 1)
    assert failed.retry_in >= SOON
    with pytest.raises(mtls.IdentityError) as caught:
        credential.reload()
    assert caught.value.code == DAMAGE[how]
    assert credential.identity.fingerprint == first.fingerprint
    if (tmp_path / "tls.key").is_dir():
        (tmp_path / "tls.key").rmdir()
    write(tmp_path, second)
    assert polled(credential).fingerprint == second.fingerprint
    assert isinstance(
        events[-2 if isinstance(events[-1], GenerationDrained) else -1], IdentityReloaded
    )


def test_what_fails_again_and_again_is_tried_ever_less_often(ca: CA, tmp_path: Path) -> None:
    events: list[Event] = []
    credential = mtls.Credential(
        write(tmp_path, ca.issue()), poll_interval=0.001, observers=[events.append]
    )
    (tmp_path / "tls.key").write_bytes(b"garbage")
    until(lambda: credential.refresh() or len(events) >= 5)
    pauses = [event.retry_in for event in events if isinstance(event, ReloadFailed)]
    assert pauses[:5] == [0.001, 0.002, 0.004, 0.008, 0.016]
    assert [e.attempts for e in events if isinstance(e, ReloadFailed)][:5] == [1, 2, 3, 4, 5]


def test_a_source_that_is_put_back_as_it_was_is_good_again(ca: CA, tmp_path: Path) -> None:
    first = ca.issue()
    events: list[Event] = []
    credential = mtls.Credential(
        write(tmp_path, first), poll_interval=SOON, observers=[events.append]
    )
    (tmp_path / "tls.crt").write_bytes(b"garbage")
    polled(credential)
    write(tmp_path, first)
    polled(credential)
    polled(credential)
    assert [type(event) for event in events] == [ReloadFailed]


class Foreign:
    """A source of somebody else's, with errors of its own."""

    def __init__(self, identity: mtls.Identity) -> None:
        self.identity: mtls.Identity | None = identity
        self.version = b"1"

    def load(self) -> mtls.Identity:
        if self.identity is None:
            raise KeyError("hunter2")
        return self.identity

    def digest(self) -> bytes:
        if self.version == b"broken":
            raise OSError("hunter2")
        return self.version


@pytest.mark.parametrize("version", [b"2", b"broken"])
def test_a_source_that_raises_what_it_should_not_breaks_no_request(
    version: bytes, identity: mtls.Identity, caplog: pytest.LogCaptureFixture
) -> None:
    source = Foreign(identity)
    events: list[Event] = []
    credential = mtls.Credential(source, poll_interval=SOON, observers=[events.append])
    source.identity, source.version = None, version
    assert polled(credential) is identity
    assert [(e.code, e.message) for e in events if isinstance(e, ReloadFailed)] == [
        ("source_failed", "KeyError in load()")
    ]
    assert "hunter2" not in repr(events) + caplog.text


def test_a_source_without_a_digest_is_read_only_when_told(identity: mtls.Identity, ca: CA) -> None:
    class Bare:
        def __init__(self) -> None:
            self.loads = 0

        def load(self) -> mtls.Identity:
            self.loads += 1
            return identity

    source = Bare()
    credential = mtls.Credential(source, poll_interval=0.001)
    for _ in range(3):
        polled(credential)
    assert source.loads == 1
    credential.reload()
    assert source.loads == 2


def test_an_identity_that_openssl_refuses_is_not_taken_over(ca: CA, tmp_path: Path) -> None:
    first = ca.issue()
    events: list[Event] = []
    credential = mtls.Credential(
        write(tmp_path, first),
        poll_interval=SOON,
        observers=[events.append],
        present_unusable=True,
    )
    context = mtls.MTLSContext(credential)
    write(tmp_path, ca.issue("weak", key="rsa", key_bits=1024))
    assert polled(credential).fingerprint == first.fingerprint
    assert [e.code for e in events if isinstance(e, ReloadFailed)] == ["identity_weak"]
    assert context.inner_for("localhost").identity is credential.identity


def test_a_watcher_needs_no_requests_and_ends(ca: CA, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with mtls.Credential(
        write(tmp_path, ca.issue("first")), poll_interval=SOON, watch=True
    ) as credential:
        write(tmp_path, ca.issue("second"))
        until(lambda: credential.generation == 2)
        assert set(threading.enumerate()) - before
    until(lambda: not set(threading.enumerate()) - before)
    write(tmp_path, ca.issue("third"))
    time.sleep(3 * SOON)
    credential.refresh()
    assert credential.generation == 2, "closed: it looks no more, and the identity stays"


def test_a_watcher_does_not_keep_a_forgotten_credential(ca: CA, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    credential = mtls.Credential(write(tmp_path, ca.issue()), poll_interval=SOON, watch=True)
    assert set(threading.enumerate()) - before
    del credential
    until(lambda: not set(threading.enumerate()) - before)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP on this system")
def test_sighup_reloads_and_the_old_handler_still_runs(ca: CA, tmp_path: Path) -> None:
    called: list[int] = []
    previous = signal.signal(signal.SIGHUP, lambda number, _frame: called.append(number))
    try:
        credential = mtls.Credential(write(tmp_path, ca.issue("first")), poll_interval=3600)
        credential.reload_on()
        write(tmp_path, ca.issue("second"))
        os.kill(os.getpid(), signal.SIGHUP)
        until(lambda: credential.generation == 2)
        assert called == [signal.SIGHUP]
        (tmp_path / "tls.key").unlink()
        os.kill(os.getpid(), signal.SIGHUP)
        until(lambda: len(called) == 2)
        assert credential.generation == 2
    finally:
        signal.signal(signal.SIGHUP, previous)


def test_a_signal_helper_outside_the_main_thread_says_so(identity: mtls.Identity) -> None:
    caught: list[Exception] = []

    def run() -> None:
        try:
            mtls.Credential(identity).reload_on(signal.SIGTERM)
        except mtls.ConfigurationError as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    assert "main thread" in str(caught[0])


def test_drained_is_told_once_and_waited_for(ca: CA, tmp_path: Path) -> None:
    events: list[Event] = []
    first = ca.issue("first")
    credential = mtls.Credential(write(tmp_path, first), observers=[events.append])
    lease, other = credential.lease(), credential.lease()
    assert credential.wait_drained(0)
    write(tmp_path, ca.issue("second"))
    credential.reload()
    assert not credential.wait_drained(0.01)
    lease.release()
    lease.release()
    assert not credential.wait_drained(0.01)
    threading.Timer(0.05, other.release).start()
    assert credential.wait_drained(10)
    until(lambda: len(events) == 2)
    other.release()
    drained = events[1]
    assert isinstance(drained, GenerationDrained)
    assert (drained.generation, drained.fingerprint) == (1, first.fingerprint)
    assert len(events) == 2


def test_a_lease_that_nobody_released_ends_with_its_holder(ca: CA, tmp_path: Path) -> None:
    class Holder:
        pass

    holder = Holder()
    credential = mtls.Credential(write(tmp_path, ca.issue("first")))
    credential.lease().release_with(holder)
    write(tmp_path, ca.issue("second"))
    credential.reload()
    assert not credential.wait_drained(0.01)
    del holder
    assert credential.wait_drained(10)


def test_no_lease_is_lost_or_kept_under_threads(ca: CA, tmp_path: Path) -> None:
    """Leases are counted without a lock: attack that."""
    identities = [ca.issue(str(number)) for number in range(12)]
    credential = mtls.Credential(write(tmp_path, identities[0]))
    done, wrong = threading.Event(), []

    def use() -> None:
        while not done.is_set():
            lease = credential.lease()
            if lease not in lease.generation.leases:
                wrong.append(lease)
            lease.begun()
            lease.release()

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for identity in identities[1:]:
        write(tmp_path, identity)
        credential.reload()
        assert credential.wait_drained(10)
    done.set()
    for thread in threads:
        thread.join(10)
    assert (wrong, credential.generation) == ([], 12)


@pytest.mark.parametrize("interval", [0, -1, float("nan")])
def test_an_interval_that_makes_no_sense_is_refused(
    interval: float, identity: mtls.Identity
) -> None:
    with pytest.raises(mtls.ConfigurationError, match="poll_interval"):
        mtls.Credential(identity, poll_interval=interval)


def test_a_credential_cannot_be_pickled(identity: mtls.Identity) -> None:
    with pytest.raises(mtls.ConfigurationError, match="each process"):
        pickle.dumps(mtls.Credential(identity))


def test_a_slow_load_holds_up_nobody_who_has_an_identity(ca: CA) -> None:
    class Slow(Foreign):
        def load(self) -> mtls.Identity:
            if self.version == b"2":
                loading.set()
                assert proceed.wait(10)
            return super().load()

    loading, proceed = threading.Event(), threading.Event()
    source = Slow(ca.issue("first"))
    credential = mtls.Credential(source, poll_interval=SOON)
    source.identity, source.version = ca.issue("second"), b"2"
    time.sleep(SOON)
    thread = threading.Thread(target=credential.refresh)
    thread.start()
    assert loading.wait(10)
    credential.refresh()  # would wait for ever
    assert credential.generation == 1
    proceed.set()
    thread.join(10)
    assert credential.generation == 2
