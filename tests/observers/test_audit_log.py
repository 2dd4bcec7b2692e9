"""`AuditLog`: what a line holds, and a file that others move, cut, fill up and share."""

from __future__ import annotations

import contextlib
import datetime
import gc
import json
import os
import resource
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mtls_client as mtls
from mtls_client import events
from mtls_client.observers import AuditLog
from mtls_client.testing import CA, Server
from tests.clients import KINDS, fetch, native_errors
from tests.observers.samples import checked, completed, intact, mismatched, rejected
from tests.rotation.test_processes import in_child
from tests.rotation.writing import write

KEY = b"0123456789abcdef"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def kinds(path: Path) -> list[str]:
    return [line["event"] for line in intact(path)]


def continued(path: Path) -> list[dict[str, object]]:
    return [line["known"] for line in intact(path) if line["event"] == "LogContinues"]


@contextlib.contextmanager
def full_at(size: int) -> Iterator[None]:
    """Let no file grow beyond a size, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("kind", KINDS)
def test_a_line_says_who_called_what_with_which_certificate(
    kind: str, path: Path, server: Server, identity: mtls.Identity, trust: mtls.Trust
) -> None:
    before = datetime.datetime.now(datetime.UTC)
    answer = fetch(kind, identity, server.url, trust=trust, observers=[AuditLog(path)])
    assert answer.status_code == 200
    begun, line = intact(path)
    assert begun["event"] == "LogBegun"
    assert line["event"] == "HandshakeCompleted"
    assert (line["host"], line["version"], line["pid"]) == ("localhost", "TLSv1.3", os.getpid())
    assert (line["fingerprint"], line["serial"]) == (identity.fingerprint, identity.serial)
    assert line["server_pin"].startswith("sha256/")
    assert line["cipher"].startswith("TLS_")
    at = datetime.datetime.fromisoformat(line["at"])
    assert line["at"].endswith("Z")
    assert before <= at <= datetime.datetime.now(datetime.UTC)


@pytest.mark.parametrize("kind", KINDS)
def test_refusals_and_mismatches_are_lines(
    kind: str,
    path: Path,
    server: Server,
    identity: mtls.Identity,
    untrusted_identity: mtls.Identity,
    ca: CA,
) -> None:
    log = AuditLog(path)
    trust = mtls.Trust.from_pem(ca.pem)
    with pytest.raises(native_errors(kind)):
        fetch(kind, untrusted_identity, server.url, trust=trust, observers=[log])
    refused = [one for one in intact(path) if one["event"] == "IdentityRejected"]
    assert {(one["reason"], one["serial"]) for one in refused} == {
        ("untrusted", untrusted_identity.serial)
    }
    pinned = mtls.Trust.from_pem(ca.pem, pins=["sha256/" + "A" * 43 + "="])
    with pytest.raises(native_errors(kind)):
        fetch(kind, identity, server.url, trust=pinned, observers=[log])
    mismatch, failed = intact(path)[-2:]
    assert (mismatch["event"], mismatch["enforced"]) == ("PinMismatch", True)
    assert mismatch["configured"] == ["sha256/" + "A" * 43 + "="]
    assert (failed["event"], failed["code"]) == ("HandshakeFailed", "pin_mismatch")


def test_an_expired_identity_and_a_reload_are_lines(
    path: Path, tmp_path: Path, server: Server, expired_identity: mtls.Identity, ca: CA
) -> None:
    log = AuditLog(path)
    source = write(tmp_path, ca.issue("first"))
    with mtls.Credential(source, observers=[log]) as credential:
        new = ca.issue("second")
        write(tmp_path, new)
        credential.reload()
        assert credential.wait_drained(10)
        (tmp_path / "tls.crt").write_text("half a certif")
        with pytest.raises(mtls.IdentityError):
            credential.reload()
    present = mtls.Credential(expired_identity, present_unusable=True)
    with pytest.raises(mtls.IdentityRejectedError):
        fetch(
            "requests",
            present,
            server.url,
            trust=mtls.Trust.from_pem(ca.pem),
            observers=[log],
        )
    lines = {line["event"]: line for line in intact(path)}
    assert lines["IdentityReloaded"]["serial"] == new.serial
    assert lines["IdentityReloaded"]["not_after"].endswith("Z")
    assert lines["ReloadFailed"]["code"]
    assert lines["IdentityRejected"]["reason"] == "expired"
    assert "GenerationDrained" in lines


def test_no_secret_is_in_it(path: Path, tmp_path: Path, server: Server, ca: CA) -> None:
    """Neither of the identity, nor of a source that fails with its content in its error."""
    identity, password = ca.issue("client"), "tops3cret-password"

    class Leaky:
        fails = False

        def load(self) -> mtls.Identity:
            if self.fails:
                raise ValueError(password)
            return identity

    key = tmp_path / "audit.key"
    key.write_text("not-to-be-seen-0123456789\n")
    log, source = AuditLog(path, key=key), Leaky()
    credential = mtls.Credential(source, observers=[log])
    with mtls.Session(credential, trust=mtls.Trust.from_pem(ca.pem), observers=[log]) as session:
        session.get(server.url + "/?token=in-the-url", headers={"Authorization": "in-a-header"})
    source.fails = True
    with pytest.raises(ValueError, match="tops3cret"):
        credential.reload()
    text = path.read_text() + repr(log)
    assert "source_failed" in text
    pem = identity.private_key_pem().decode().splitlines()[1:-1]
    for secret in (password, "not-to-be-seen", "in-the-url", "in-a-header", *pem):
        assert secret not in text


HOSTILE = ["a\nb", "a\r\n{}", "\x1b[31mred", "\x00", "\u202e", "\ud800", '","hash":"', "x" * 10**6]


@pytest.mark.parametrize("host", HOSTILE)
def test_a_hostile_host_stays_in_its_line(host: str, path: Path) -> None:
    log = AuditLog(path)
    log(completed(host))
    log(completed())
    data = path.read_bytes()
    assert data.count(b"\n") == 3
    assert len(data) < 3000
    assert all(byte == 10 or 32 <= byte < 127 for byte in data)
    assert intact(path)[1]["host"][:1000] == host[:1000]


def test_an_event_of_ones_own_is_a_line_without_what_is_no_plain_value(path: Path) -> None:
    import dataclasses

    @dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
    class Own(events.Event):
        seq: int = 99
        hash: str = "forged"
        event: str = "forged"
        thing: object = dataclasses.field(default_factory=lambda: {"secret": 1})

    AuditLog(path)(Own())
    line = intact(path)[1]
    assert (line["seq"], line["event"], line["thing"]) == (1, "Own", "<dict>")
    assert line["hash"] != "forged"


def test_only_its_owner_may_read_it(path: Path) -> None:
    old = os.umask(0)
    try:
        AuditLog(path)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_next_process_continues_the_chain(path: Path) -> None:
    AuditLog(path)(completed())
    AuditLog(path)(completed())
    assert kinds(path) == ["LogBegun", "HandshakeCompleted", "HandshakeCompleted"]


def test_two_writers_take_turns(path: Path) -> None:
    one, other = AuditLog(path), AuditLog(path)
    for _ in range(10):
        one(completed("one"))
        other(completed("other"))
    assert [line["host"] for line in intact(path)[1:]] == ["one", "other"] * 10


@pytest.mark.parametrize("durable", [False, True])
def test_it_is_written_when_the_call_returns(path: Path, durable: bool) -> None:
    log = AuditLog(path, durable=durable)
    log(completed())
    assert kinds(path) == ["LogBegun", "HandshakeCompleted"]


class TestKeys:
    @pytest.mark.parametrize("how", ["bytes", "file", "function"])
    def test_a_key_makes_hmacs(self, how: str, path: Path, tmp_path: Path) -> None:
        file = tmp_path / "audit.key"
        file.write_bytes(KEY + b"\n")
        key = {"bytes": KEY, "file": file, "function": lambda: KEY}[how]
        AuditLog(path, key=key)(completed())  # type: ignore[arg-type]
        assert len(intact(path, key=KEY)) == 2
        assert checked(path, key=KEY + b"x")[0].problems

    @pytest.mark.parametrize("key", [b"short", "text of sixteen b", Path("absent.key"), lambda: ""])
    def test_what_is_no_key(self, key: object, path: Path) -> None:
        with pytest.raises(mtls.ConfigurationError) as caught:
            AuditLog(path, key=key)  # type: ignore[arg-type]
        assert caught.value.code == "audit_key"
        assert "openssl rand" in str(caught.value.hint)
        assert not path.exists()

    @pytest.mark.parametrize(("first", "second"), [(KEY, None), (None, KEY), (KEY, KEY + b"x")])
    def test_a_log_is_not_continued_with_another(
        self, first: bytes | None, second: bytes | None, path: Path
    ) -> None:
        AuditLog(path, key=first)(completed())
        before = path.read_bytes()
        with pytest.raises(mtls.ConfigurationError) as caught:
            AuditLog(path, key=second)
        assert caught.value.code == "audit_damaged"
        assert path.read_bytes() == before


class TestFilesThatCannotBe:
    @pytest.mark.parametrize("content", ["hello", "hello\n", "{}\n", "x" * 10**5, "\n" * 10])
    def test_another_file_is_left_alone(self, content: str, path: Path) -> None:
        path.write_text(content)
        with pytest.raises(mtls.ConfigurationError) as caught:
            AuditLog(path)
        assert caught.value.code == "audit_damaged"
        assert path.read_text() == content

    @pytest.mark.parametrize("what", ["folder", "link", "fifo", "absent folder"])
    def test_no_file(self, what: str, path: Path, tmp_path: Path) -> None:
        match what:
            case "folder":
                path.mkdir()
            case "link":
                path.symlink_to(tmp_path / "elsewhere")
            case "fifo":
                os.mkfifo(path)
            case _:
                path = tmp_path / "absent" / "audit.jsonl"
        with pytest.raises(mtls.ConfigurationError) as caught:
            AuditLog(path)
        assert caught.value.code == "audit_file"
        assert caught.value.hint
        assert not (tmp_path / "elsewhere").exists()


class TestRotation:
    def test_the_new_file_refers_to_the_end_of_the_old_one(self, path: Path) -> None:
        one, other = AuditLog(path), AuditLog(path)
        one(completed("before"))
        old = path.rename(path.with_suffix(".1"))
        other(completed("after"))  # has never seen the last line of the old file
        one(completed("after"))
        assert [line.get("host") for line in intact(old)] == [None, "before"]
        last = intact(old)[-1]
        assert kinds(path) == [
            "LogBegun",
            "LogContinues",
            "HandshakeCompleted",
            "LogContinues",
            "HandshakeCompleted",
        ]
        assert continued(path) == [{"seq": last["seq"], "hash": last["hash"]}] * 2

    def test_who_has_slept_through_a_rotation_breaks_no_link(self, path: Path) -> None:
        """It is the first to write to the third file, and has never seen the second."""
        sleeper, busy = AuditLog(path), AuditLog(path)
        for number in (2, 1):
            busy(completed())
            old = path.rename(path.with_suffix(f".{number}"))
        sleeper(completed())
        busy(completed())
        last = intact(old)[-1]
        assert {"seq": last["seq"], "hash": last["hash"]} in continued(path)

    def test_an_empty_file_put_in_its_place_is_begun(self, path: Path) -> None:
        """As `create` of logrotate does; its mode is not ours to judge."""
        log = AuditLog(path)
        path.rename(path.with_suffix(".1"))
        path.touch(0o640)
        log(completed())
        assert kinds(path) == ["LogBegun", "LogContinues", "HandshakeCompleted"]
        assert stat.S_IMODE(path.stat().st_mode) == 0o640

    def test_a_removed_file_is_missed(self, path: Path) -> None:
        log = AuditLog(path)
        log(completed())
        path.unlink()
        log(completed())
        assert [known["seq"] for known in continued(path)] == [1]

    @pytest.mark.parametrize("left", [0, 1, 2])
    def test_a_file_cut_while_in_use_says_so_for_ever(self, left: int, path: Path) -> None:
        """By copytruncate, or by somebody who wants lines to be gone."""
        log = AuditLog(path)
        log(completed("one"))
        log(completed("two"))
        lines = path.read_bytes().splitlines(keepends=True)
        os.truncate(path, len(b"".join(lines[:left])))
        log(completed("three"))
        AuditLog(path)(completed("four"))
        verdict, rest = checked(path)
        [problem] = verdict.problems
        assert problem.message == (
            "the file was cut while in use: it had number 2, with hash "
            + json.loads(lines[2])["hash"]
        )
        assert [line.get("host") for line in rest][-2:] == ["three", "four"]


class TestCrashes:
    @pytest.mark.parametrize("left", [1, 10, 100, 300])
    def test_a_torn_last_line_is_described_and_nothing_is_glued_to_it(
        self, left: int, path: Path
    ) -> None:
        AuditLog(path)(completed("whole"))
        whole = path.read_bytes()
        AuditLog(path)(completed("torn"))
        os.truncate(path, len(whole) + left)
        AuditLog(path)(completed("next"))
        verdict, lines = checked(path)
        assert verdict.problems == []
        assert [one.line for one in verdict.notes] == [3]
        assert [line["event"] for line in lines[2:]] == ["LineTorn", "HandshakeCompleted"]
        assert lines[2]["bytes"] == left
        assert path.read_bytes().startswith(whole)

    def test_a_line_that_lacks_its_end_only_is_kept(self, path: Path) -> None:
        AuditLog(path)(completed("one"))
        os.truncate(path, path.stat().st_size - 1)
        AuditLog(path)(completed("two"))
        assert [line.get("host") for line in intact(path)] == [None, "one", "two"]

    @pytest.mark.parametrize("left", [1, 5, 50])
    def test_a_torn_first_line(self, left: int, path: Path) -> None:
        AuditLog(path)
        os.truncate(path, left)
        AuditLog(path)(completed())
        assert kinds(path) == ["LogBegun", "LineTorn", "HandshakeCompleted"]

    def test_a_crash_after_a_crash(self, path: Path) -> None:
        """The description of a torn line may be torn as well, any number of times."""
        AuditLog(path)(completed("whole"))
        with path.open("ab") as file:
            file.write(b'{"seq":2,"pr\n{"seq":2,"prev":"00\n{"se')
        AuditLog(path)(completed("next"))
        verdict, lines = checked(path)
        assert verdict.problems == []
        assert [one.line for one in verdict.notes] == [3, 4, 5]
        assert [line["event"] for line in lines[2:]] == ["LineTorn", "HandshakeCompleted"]

    def test_blocks_of_zeros_after_a_power_failure(self, path: Path) -> None:
        AuditLog(path)(completed("whole"))
        os.truncate(path, path.stat().st_size + 8192)
        AuditLog(path)(completed("next"))
        assert kinds(path)[2:] == ["LineTorn", "HandshakeCompleted"]


class TestFullDisks:
    @pytest.mark.parametrize("room", [0, 1, 200, 700])
    def test_what_cannot_be_written_waits(self, room: int, path: Path) -> None:
        told: list[Exception] = []
        log = AuditLog(path, on_failure=told.append)
        log(completed("before"))
        with full_at(path.stat().st_size + room):
            for number in range(5):
                log(completed(f"late{number}"))
        log(completed("after"))
        hosts = [line["host"] for line in intact(path) if "host" in line]
        assert hosts == ["before", *(f"late{number}" for number in range(5)), "after"]
        assert len(told) == (4 if room == 700 else 5)
        assert all(isinstance(one, OSError) for one in told)

    def test_what_waits_is_bounded_and_the_rest_is_counted(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from mtls_client.observers import audit

        monkeypatch.setattr(audit, "_MOST_WAITING", 3)
        log = AuditLog(path, on_failure=lambda error: None)
        with full_at(path.stat().st_size):
            for _ in range(5):
                log(completed("late"))
        log(completed("after"))
        lines = intact(path)
        [dropped] = [line for line in lines if line["event"] == "EventsDropped"]
        assert (dropped["count"], dropped["reason"]) == (2, "File too large")
        assert [line["host"] for line in lines if "host" in line] == ["late"] * 3 + ["after"]

    def test_a_lock_that_somebody_holds_costs_no_line(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from mtls_client._os.locks import held
        from mtls_client.observers import _logfile

        monkeypatch.setattr(_logfile, "PATIENCE", 0.05)
        told: list[Exception] = []
        log = AuditLog(path, on_failure=told.append)
        with path.open("rb") as file, held(file.fileno(), 1):
            log(completed("late"))
        assert [type(one) for one in told] == [TimeoutError]
        log(completed("after"))
        assert [line.get("host") for line in intact(path)] == [None, "late", "after"]

    def test_without_on_failure_it_is_logged_and_the_request_goes_on(
        self,
        path: Path,
        server: Server,
        identity: mtls.Identity,
        trust: mtls.Trust,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        log = AuditLog(path)
        with full_at(path.stat().st_size):
            with mtls.Session(identity, trust=trust, observers=[log]) as session:
                assert session.get(server.url).status_code == 200
        assert "AuditLog" in caplog.text


def test_an_observer_that_raises_breaks_no_request(
    server: Server, identity: mtls.Identity, trust: mtls.Trust, caplog: pytest.LogCaptureFixture
) -> None:
    def bad(event: events.Event) -> None:
        raise RuntimeError("broken observer")

    seen: list[events.Event] = []
    for kind in KINDS:
        answer = fetch(kind, identity, server.url, trust=trust, observers=[bad, seen.append])
        assert answer.status_code == 200
    assert len(seen) == len(KINDS)
    assert "broken observer" in caplog.text


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_children_forked_while_threads_write_continue_the_chain(path: Path) -> None:
    log, done = AuditLog(path), threading.Event()

    def work() -> None:
        while not done.is_set():
            log(completed("parent"))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            assert in_child(lambda: str([log(completed("child")) for _ in range(5)])) == str(
                [None] * 5
            )
    finally:
        done.set()
        for thread in threads:
            thread.join(20)
    lines = intact(path)
    assert sum(line.get("host") == "child" for line in lines) == 50
    assert len({line["pid"] for line in lines if line.get("host") == "child"}) == 10


def test_an_event_from_the_garbage_collector_does_not_lock_the_thread_that_writes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AuditLog(path)

    class Last:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            log(mismatched("from the collector"))

    from mtls_client.observers import _logfile

    written: Callable[..., object] = _logfile.written

    def collecting(*arguments: object) -> object:
        monkeypatch.setattr(_logfile, "written", written)
        Last()
        gc.collect()
        return written(*arguments)

    monkeypatch.setattr(_logfile, "written", collecting)
    log(rejected())
    assert kinds(path) == ["LogBegun", "IdentityRejected", "PinMismatch"]


def test_closing_writes_what_waits(path: Path) -> None:
    log = AuditLog(path, on_failure=lambda error: None)
    with full_at(path.stat().st_size):
        log(completed())
        with pytest.raises(OSError, match="too large"):
            log.close()
    log.close()
    assert kinds(path) == ["LogBegun", "HandshakeCompleted"]


def test_a_closed_log_is_opened_by_the_next_event(path: Path) -> None:
    log = AuditLog(path)
    log.close()
    log(completed())
    log.close()
    assert kinds(path) == ["LogBegun", "HandshakeCompleted"]
