"""An identity in a keyring survives small entries, crashes, writers at once and bad backends."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from keyring.backend import KeyringBackend
from keyring.backends import fail, null
from keyring.errors import KeyringLocked

from mtls_client import (
    ConfigurationError,
    Identity,
    IdentityError,
    IdentityNotFoundError,
    KeyringError,
)
from mtls_client._os.locks import locked
from mtls_client.sources.keyring import KeyringSource
from mtls_client.testing import CA
from tests.sources import backends
from tests.sources.backends import Crash, Memory, using

ROOT = Path(__file__).parents[2]
SMALL = 1280


@pytest.fixture(autouse=True)
def own_lock_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@pytest.fixture(params=[None, SMALL], ids=["whole", "chunked"])
def backend(request: pytest.FixtureRequest) -> Iterator[Memory]:
    made = Memory(request.param)
    with using(made):
        yield made


@pytest.fixture(scope="session")
def renewed(ca: CA) -> Identity:
    return ca.issue("client")


def test_what_is_saved_is_loaded(backend: Memory, identity: Identity) -> None:
    KeyringSource("bank").save(identity)
    loaded = KeyringSource("bank").load()
    assert loaded.fingerprint == identity.fingerprint
    assert loaded.chain == identity.chain
    assert loaded.private_key_pem() == identity.private_key_pem()
    assert all(len(value) <= (backend.largest or 10**6) for value in backend.entries.values())


def test_a_whole_entry_is_pem_that_other_tools_can_use(identity: Identity) -> None:
    with using(Memory()):
        import keyring

        KeyringSource("bank").save(identity)
        stored = keyring.get_password("mtls-client", "bank")
    assert stored is not None
    assert Identity.from_pem(stored).fingerprint == identity.fingerprint


def test_saving_again_replaces_and_leaves_nothing_over(
    backend: Memory, identity: Identity, renewed: Identity
) -> None:
    source = KeyringSource("bank")
    source.save(identity)
    before = len(backend.entries)
    source.save(renewed)
    assert source.load().fingerprint == renewed.fingerprint
    assert len(backend.entries) == before


def test_delete_removes_every_entry(backend: Memory, identity: Identity) -> None:
    source = KeyringSource("bank")
    source.save(identity)
    source.delete()
    assert [name for _, name in backend.entries] == ["#index"]
    assert KeyringSource.list() == []
    for act in (source.load, source.delete):
        with pytest.raises(IdentityNotFoundError, match=r"keyring:bank: no such identity") as told:
            act()
        assert "mtls identity list" in (told.value.hint or "")


def test_list_names_what_is_there(backend: Memory, identity: Identity) -> None:
    for name in ("zürich", "bank", "a b"):
        KeyringSource(name).save(identity)
    KeyringSource("other", service="another").save(identity)
    assert KeyringSource.list() == ["a b", "bank", "zürich"]
    assert KeyringSource.list(service="another") == ["other"]
    backend.entries.pop(("mtls-client", "bank"))
    assert KeyringSource.list() == ["a b", "zürich"]


def test_a_long_index_is_chunked(identity: Identity) -> None:
    with using(Memory(SMALL)):
        names = sorted(f"{number:03} {'x' * 150}" for number in range(12))
        for name in names:
            KeyringSource(name).save(identity)
        assert KeyringSource.list() == names


def test_a_damaged_index_is_told_and_mended(backend: Memory, identity: Identity) -> None:
    backend.entries["mtls-client", "#index"] = "nonsense"
    with pytest.raises(KeyringError, match="list of names") as told:
        KeyringSource.list()
    assert told.value.code == "keyring_damaged"
    KeyringSource("bank").save(identity)
    assert KeyringSource.list() == ["bank"]


@pytest.mark.parametrize("name", ["", " ", "a#b", "a\nb", "a\x00b", "\ud800", "x" * 201])
def test_names_that_cannot_be_names(name: str) -> None:
    with pytest.raises(ConfigurationError, match="not a name"):
        KeyringSource(name)


def test_a_service_that_cannot_be_one() -> None:
    with pytest.raises(ConfigurationError, match="not a service"):
        KeyringSource("bank", service="")


# interruption


@pytest.mark.parametrize("deletes_first", [False, True], ids=["atomic", "deletes first"])
def test_a_crash_at_any_write_leaves_the_old_identity_or_the_new(
    backend: Memory, identity: Identity, renewed: Identity, deletes_first: bool
) -> None:
    source, known = KeyringSource("bank"), {identity.fingerprint, renewed.fingerprint}
    source.save(identity)
    at_rest = dict(backend.entries)
    backend.deletes_first = deletes_first
    seen = []
    for step in range(1000):
        backend.entries, backend.writes, backend.crash_at = dict(at_rest), 0, step
        try:
            _crashing(source, renewed)
        except Crash:
            pass
        else:
            break
        backend.crash_at = None
        found = source.load().fingerprint
        assert found in known
        seen.append(found == renewed.fingerprint)
        assert KeyringSource.list() == ["bank"]
        # the next writer finishes or undoes it, and nothing is left over
        source.save(identity)
        assert source.load().fingerprint == identity.fingerprint
        assert len(backend.entries) == len(at_rest)
    assert step >= (3 if backend.largest is None else 7)
    assert seen == sorted(seen)  # once new, it stays new
    assert {True, False} == set(seen)


def test_a_crash_of_the_first_save_leaves_nothing_or_all(
    backend: Memory, identity: Identity
) -> None:
    source = KeyringSource("bank")
    for step in range(1000):
        backend.entries, backend.writes, backend.crash_at = {}, 0, step
        try:
            _crashing(source, identity)
        except Crash:
            pass
        else:
            break
        backend.crash_at = None
        try:
            assert source.load().fingerprint == identity.fingerprint
            assert KeyringSource.list() == ["bank"]
        except IdentityNotFoundError:
            assert KeyringSource.list() == []
            with pytest.raises(IdentityNotFoundError):
                source.delete()
        else:
            source.delete()
        assert {name for _, name in backend.entries} <= {"#index"}
    assert step >= 4


def test_a_crash_while_deleting_is_finished_by_deleting_again(
    backend: Memory, identity: Identity
) -> None:
    source = KeyringSource("bank")
    source.save(identity)
    at_rest = dict(backend.entries)
    for step in range(1000):
        backend.entries, backend.writes, backend.crash_at = dict(at_rest), 0, step
        try:
            _crashing(source, None)
        except Crash:
            pass
        else:
            break
        backend.crash_at = None
        with contextlib.suppress(IdentityNotFoundError):
            source.delete()
        assert {name for _, name in backend.entries} <= {"#index", "#index#next"}
        assert KeyringSource.list() == []


def _crashing(source: KeyringSource, identity: Identity | None) -> None:
    """Save or delete; a crash in the thread of the keyring is one of ours."""
    from mtls_client.sources import _keyring_entries

    usual = _keyring_entries._failure

    def failure(error: BaseException) -> BaseException:
        return error if isinstance(error, Crash) else usual(error)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_keyring_entries, "_failure", failure)
        source.save(identity) if identity else source.delete()


def test_a_refused_write_leaves_the_old_identity_and_no_pieces(
    identity: Identity, renewed: Identity
) -> None:
    memory = Memory(SMALL)
    with using(memory):
        source = KeyringSource("bank")
        source.save(identity)
        before = dict(memory.entries)
        memory.largest = 1000  # smaller than a piece
        with pytest.raises(KeyringError, match="backend failed"):
            source.save(renewed)
        assert memory.entries == before


# damage


@pytest.mark.parametrize("damage", ["lost", "changed", "swapped", "manifest"])
def test_damage_is_told(damage: str, identity: Identity) -> None:
    memory = Memory(SMALL)
    with using(memory):
        source = KeyringSource("bank")
        source.save(identity)
        pieces = [key for key in memory.entries if key[1].startswith("bank#")]
        if damage == "lost":
            del memory.entries[pieces[-1]]
        elif damage == "changed":
            memory.entries[pieces[0]] = memory.entries[pieces[0]].swapcase()
        elif damage == "swapped":
            first, second = pieces[:2]
            memory.entries[first], memory.entries[second] = (
                memory.entries[second],
                memory.entries[first],
            )
        else:
            memory.entries["mtls-client", "bank"] = '{"mtls-client": 1, "chunks": 1e9}'
        with pytest.raises(KeyringError, match="keyring:bank: its entries") as told:
            source.load()
        assert (told.value.code, "import it again" in (told.value.hint or "")) == (
            "keyring_damaged",
            True,
        )
        assert KeyringSource.list() == ["bank"]
        source.delete()
        assert KeyringSource.list() == []


def test_an_entry_that_is_no_identity_is_told_without_its_value() -> None:
    memory = Memory()
    memory.entries["mtls-client", "bank"] = "tops3cret"
    with using(memory), pytest.raises(IdentityError, match="keyring:bank: neither") as told:
        KeyringSource("bank").load()
    assert "tops3cret" not in str(told.value)


# a poller


def test_the_digest_changes_with_what_is_stored(
    backend: Memory, identity: Identity, renewed: Identity
) -> None:
    source = KeyringSource("bank")
    digests = [source.digest()]
    for one in (identity, renewed):
        source.save(one)
        digests.append(source.digest())
        assert source.digest() == digests[-1]
    with using(fail.Keyring()):
        digests.append(source.digest())
    assert len(set(digests)) == 4
    assert source.poll_interval >= 10


# backends


@pytest.mark.parametrize(
    ("backend_", "code"),
    [
        (fail.Keyring(), "keyring_missing"),
        (null.Keyring(), "keyring_missing"),
        (backends.Plaintext(), "keyring_refused"),
        (backends.Derived(), "keyring_refused"),
    ],
)
def test_backends_that_are_refused(backend_: KeyringBackend, code: str, identity: Identity) -> None:
    with using(backend_):
        source = KeyringSource("bank")
        for act in (source.load, source.delete, KeyringSource.list, lambda: source.save(identity)):
            with pytest.raises(KeyringError) as told:
                act()
            assert told.value.code == code
            assert told.value.hint
        assert getattr(backend_, "entries", {}) == {}


def test_of_a_chain_only_the_first_is_used(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    from keyring.backends.chainer import ChainerBackend

    good, bad = Memory(), backends.Plaintext()
    for chain in ([good, bad], [bad, good], []):
        monkeypatch.setattr(ChainerBackend, "backends", chain)
        with using(ChainerBackend()):
            if chain[:1] == [good]:
                KeyringSource("bank").save(identity)
                assert KeyringSource("bank").load().fingerprint == identity.fingerprint
            else:
                with pytest.raises(KeyringError) as told:
                    KeyringSource("bank").load()
                assert told.value.code == ("keyring_refused" if chain else "keyring_missing")
    assert bad.entries == {}


def test_windows_gets_pieces_at_once(identity: Identity) -> None:
    class Vault(Memory):
        def set_password(self, service: str, username: str, password: str) -> None:
            assert len(password) <= SMALL
            super().set_password(service, username, password)

    Vault.__module__ = "keyring.backends.Windows"
    with using(Vault()):
        KeyringSource("bank").save(identity)
        assert KeyringSource("bank").load().fingerprint == identity.fingerprint


def test_a_backend_that_hangs_is_given_up() -> None:
    with using(backends.Hanging()):
        began = time.monotonic()
        with pytest.raises(KeyringError, match=r"did not answer in 0\.2 seconds") as told:
            KeyringSource("bank", timeout=0.2).load()
        assert time.monotonic() - began < 5
    assert told.value.code == "keyring_timeout"


def test_a_locked_backend_is_told() -> None:
    class Locked(Memory):
        def get_password(self, service: str, username: str) -> str | None:
            raise KeyringLocked("Failed to unlock the collection!")

    with using(Locked()), pytest.raises(KeyringError, match="locked") as told:
        KeyringSource("bank").load()
    assert told.value.code == "keyring_locked"


def test_no_error_and_no_log_holds_a_value(
    identity: Identity, caplog: pytest.LogCaptureFixture
) -> None:
    import traceback

    caplog.set_level(logging.DEBUG)
    for backend_ in (backends.Talkative(), Memory(500)):
        with using(backend_), pytest.raises(KeyringError) as told:
            KeyringSource("bank").save(identity)
        text = (
            "".join(traceback.format_exception(told.value)) + caplog.text + repr(vars(told.value))
        )
        for line in identity.private_key_pem().decode().splitlines():
            assert line not in text
        assert "CredWrite" not in text
    assert repr(KeyringSource("bank", service="x")) == "KeyringSource('bank', service='x')"


# several at once

SAVER = """
import sys
from pathlib import Path
from mtls_client import Identity
from mtls_client.sources.keyring import KeyringSource
one = Identity.from_pem(Path(sys.argv[1]).read_bytes())
for number in range(15):
    KeyringSource("bank", timeout=30).save(one)
    KeyringSource(f"{sys.argv[2]} {number}", timeout=30).save(one)
"""


def test_processes_that_save_at_the_same_time(
    tmp_path: Path, identity: Identity, renewed: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    monkeypatch.setenv("FAKE_KEYRING", str(store))
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHON_KEYRING_BACKEND": "tests.sources.backends.Folder",
    }
    savers = []
    for number, one in enumerate((identity, renewed)):
        one.save_pem(tmp_path / f"{number}.pem", password=None)
        arguments = [sys.executable, "-c", SAVER, str(tmp_path / f"{number}.pem"), str(number)]
        savers.append(subprocess.Popen(arguments, env=environment))
    known = {identity.fingerprint, renewed.fingerprint}
    loads = 0
    with using(backends.Folder()):
        deadline = time.monotonic() + 60
        while any(saver.poll() is None for saver in savers):
            assert time.monotonic() < deadline
            try:
                assert KeyringSource("bank").load().fingerprint in known
                loads += 1
            except IdentityNotFoundError:
                assert loads == 0
        assert [saver.wait(10) for saver in savers] == [0, 0]
        assert len(KeyringSource.list()) == 31
        assert KeyringSource("bank").load().fingerprint in known
        for name in KeyringSource.list():
            KeyringSource(name).delete()
    assert loads > 0
    assert len(list(store.iterdir())) == 1  # the index


def test_a_lock_is_waited_for_only_so_long(tmp_path: Path, identity: Identity) -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with locked("keyring mtls-client", 1):
            held.set()
            done.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert held.wait(10)
        with using(Memory()), pytest.raises(KeyringError, match="another process") as told:
            KeyringSource("bank", timeout=0.2).save(identity)
        assert told.value.code == "keyring_busy"
    finally:
        done.set()
        holder.join(10)
    with using(Memory()):
        KeyringSource("bank").save(identity)


def test_the_kernel_releases_the_lock_of_a_process_that_dies() -> None:
    code = (
        "import os; from mtls_client._os.locks import locked\n"
        "with locked('x', 1): print(flush=True); os._exit(9)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, timeout=30, check=False)
    assert done.returncode == 9
    with locked("x", 0.2):
        pass


def test_without_a_folder_for_the_lock_the_error_says_so(
    tmp_path: Path, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "absent"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with using(Memory()), pytest.raises(KeyringError, match="no folder for a lock"):
        KeyringSource("bank").save(identity)
