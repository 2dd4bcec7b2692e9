"""Keyring backends for the tests: in memory, in a folder, and wrong in one way each."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import keyring
from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError


class Crash(BaseException):
    """The process ends here."""


class Memory(KeyringBackend):
    """Keeps entries in memory, and counts the writes.

    Args:
        largest: characters that an entry may have.
        crash_at: the number of the write at which the process "dies".
        deletes_first: replace an entry by deleting it and adding it again, which is two writes.
    """

    priority = 0.1  # type: ignore[assignment]

    def __init__(
        self,
        largest: int | None = None,
        *,
        crash_at: int | None = None,
        deletes_first: bool = False,
    ) -> None:
        super().__init__()
        self.entries: dict[tuple[str, str], str] = {}
        self.largest = largest
        self.crash_at = crash_at
        self.deletes_first = deletes_first
        self.writes = 0

    def get_password(self, service: str, username: str) -> str | None:
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.largest is not None and len(password) > self.largest:
            # what win32ctypes raises is no OSError, and a text may hold the value
            raise Exception(1783, "CredWrite", f"the stub received bad data: {password}")
        if self.deletes_first and (service, username) in self.entries:
            self._step()
            del self.entries[service, username]
        self._step()
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        if (service, username) not in self.entries:
            raise PasswordDeleteError(service)
        self._step()
        del self.entries[service, username]

    def _step(self) -> None:
        if self.writes == self.crash_at:
            raise Crash
        self.writes += 1


class Folder(KeyringBackend):
    """Keeps each entry in a file of the folder that FAKE_KEYRING names, for several processes."""

    priority = 0.1  # type: ignore[assignment]
    LARGEST = 1280

    def get_password(self, service: str, username: str) -> str | None:
        with contextlib.suppress(FileNotFoundError):
            return self._path(service, username).read_text()
        return None

    def set_password(self, service: str, username: str, password: str) -> None:
        if len(password) > self.LARGEST:
            raise OSError(1783, "CredWrite")
        path = self._path(service, username)
        new = path.with_name(f"{path.name}.{os.getpid()}")
        new.write_text(password)
        new.replace(path)

    def delete_password(self, service: str, username: str) -> None:
        self._path(service, username).unlink()

    def _path(self, service: str, username: str) -> Path:
        name = json.dumps([service, username]).encode().hex()
        return Path(os.environ["FAKE_KEYRING"]) / name


class Hanging(Memory):
    """Waits for somebody to answer a prompt."""

    def get_password(self, service: str, username: str) -> str | None:
        time.sleep(30)
        return None


class Talkative(Memory):
    """Fails, and tells the value."""

    def set_password(self, service: str, username: str, password: str) -> None:
        raise RuntimeError(f"cannot store {password}")


class Plaintext(Memory):
    """A plaintext backend from outside, by its module."""


Plaintext.__module__ = "keyrings.alt.file"


class Derived(Plaintext):
    """A backend that builds on such a one, as keyrings.cryptfile does."""


@contextlib.contextmanager
def using(backend: KeyringBackend) -> Iterator[None]:
    """Make a backend the one that `keyring` uses."""
    before = keyring.core._keyring_backend  # type: ignore[attr-defined]
    keyring.set_keyring(backend)
    try:
        yield
    finally:
        keyring.core._keyring_backend = before  # type: ignore[attr-defined]
