"""Identities in the keyring of the operating system."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from typing import ClassVar, TypeAlias

from mtls_client._formats import writing
from mtls_client._os.locks import locked
from mtls_client.errors import (
    ConfigurationError,
    IdentityError,
    IdentityNotFoundError,
    KeyringError,
)
from mtls_client.identity import Identity
from mtls_client.sources._chunks import Record
from mtls_client.sources._keyring_entries import KeyringEntries

__all__ = ["KeyringSource"]

_Names: TypeAlias = "list[str]"  # in the class, `list` is the method

_INDEX = "#index"
_LONGEST_NAME = 200


class KeyringSource:
    """Loads an identity from the OS keyring, and saves it there.

    The keyring is the one that the package `keyring` chooses: Keychain on macOS, the Credential
    Manager on Windows, the Secret Service or KWallet on Linux. Backends that keep plain text or
    prompt on the terminal are refused. Nothing ever prompts, and no call hangs.

    Args:
        name: what the identity is called there.
        service: the service under which it is stored.
        timeout: how many seconds one call to the keyring may take.

    Example:
        >>> KeyringSource("bank").load()  # doctest: +SKIP
    """

    poll_interval: ClassVar[float] = 30.0
    """Seconds between two looks for a change: to ask a keyring is costly."""

    def __init__(self, name: str, *, service: str = "mtls-client", timeout: float = 10.0) -> None:
        if not name.isprintable() or not name.strip() or "#" in name or len(name) > _LONGEST_NAME:
            raise ConfigurationError(
                f"not a name for an identity in a keyring: {name!r}",
                hint=f"use 1 to {_LONGEST_NAME} printable characters, but no #",
                code="keyring_name",
            )
        self._name = name
        self._service = _checked_service(service)
        self._timeout = timeout

    def load(self) -> Identity:
        """Read the identity.

        Raises:
            IdentityNotFoundError: there is none of that name.
            KeyringError: the keyring is locked, missing, unsafe, damaged or too slow.
            IdentityError: what is stored is no identity.
        """
        with self._named():
            text = self._record().read()
            if text is None:
                raise self._absent()
            return Identity.from_pem(text)

    def save(self, identity: Identity) -> None:
        """Store an identity in place of the old one, if there is one.

        An interruption leaves the old identity or the new one.

        Raises:
            KeyringError: it is not stored.
        """
        text = writing.as_pem(identity, None).decode()
        with self._named(), _exclusive(self._service, self._timeout):
            entries = KeyringEntries(self._service, self._timeout)
            index = Record(entries, _INDEX)
            names = _known(index, repair=True)
            if self._name not in names:
                # before the identity: a name too many is left out, one too few is not found
                index.write(json.dumps(sorted({*names, self._name})))
            Record(entries, self._name).write(text)

    @property
    def lock(self) -> str:
        """The name of the lock of those who renew this identity, see `Savable`."""
        return f"renewal of keyring {self._service}/{self._name}"

    def check_savable(self) -> None:
        """Raise what is known to keep `save` from working: no keyring, a locked or unsafe one.

        Raises:
            KeyringError: see its `code`.
        """
        with self._named():
            self._record().exists()

    def delete(self) -> None:
        """Remove the identity, damaged or not.

        Raises:
            IdentityNotFoundError: there is none of that name.
            KeyringError: the keyring refuses.
        """
        with self._named(), _exclusive(self._service, self._timeout):
            entries = KeyringEntries(self._service, self._timeout)
            existed = Record(entries, self._name).remove()
            index = Record(entries, _INDEX)
            names = _known(index, repair=True)
            if self._name in names:
                index.write(json.dumps([name for name in names if name != self._name]))
            if not existed:
                raise self._absent()

    @classmethod
    def list(cls, *, service: str = "mtls-client", timeout: float = 10.0) -> _Names:
        """Return the names of the stored identities, sorted.

        Raises:
            KeyringError: the keyring is locked, missing, unsafe, damaged or too slow.
        """
        entries = KeyringEntries(_checked_service(service), timeout)
        names = _known(Record(entries, _INDEX))
        return [name for name in names if Record(entries, name).exists()]

    def digest(self) -> bytes:
        """Return a digest of what is stored, or of why it cannot be read."""
        try:
            text = self._record().read()
            state = "absent" if text is None else f"stored {text}"
        except KeyringError as error:
            state = f"failed {error.code}"
        return hashlib.sha256(state.encode("utf-8", "replace")).digest()

    def _record(self) -> Record:
        return Record(KeyringEntries(self._service, self._timeout), self._name)

    def _absent(self) -> IdentityNotFoundError:
        return IdentityNotFoundError(
            "no such identity in the keyring", hint="those that are there: mtls identity list"
        )

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Put the name in front of the message of an error."""
        try:
            yield
        except IdentityError as error:
            message = f"keyring:{self._name}: {error.args[0]}"
            raise type(error)(message, hint=error.hint, code=error.code) from error.__cause__

    def __repr__(self) -> str:
        service = f", service={self._service!r}" if self._service != "mtls-client" else ""
        return f"KeyringSource({self._name!r}{service})"


def _known(index: Record, *, repair: bool = False) -> list[str]:
    """Return the names in the index; none of a damaged one that is about to be written anew."""
    try:
        found = json.loads(index.read() or "[]")
    except KeyringError as error:
        if error.code != "keyring_damaged":
            raise
        found = None
    except ValueError:
        found = None
    if isinstance(found, list) and all(isinstance(name, str) for name in found):
        return found
    if repair:
        return []
    raise KeyringError(
        "the list of names in the keyring is damaged",
        hint="save any identity: the list is written anew, and a name joins it when it is saved",
        code="keyring_damaged",
    )


@contextlib.contextmanager
def _exclusive(service: str, timeout: float) -> Iterator[None]:
    """Keep two processes from writing at the same time."""
    lock = locked(f"keyring {service}", timeout)
    try:
        lock.__enter__()
    except TimeoutError as error:
        raise KeyringError(
            f"another process has been writing to the keyring for {timeout:g} seconds",
            hint="try again",
            code="keyring_busy",
        ) from error
    except (OSError, RuntimeError) as error:
        raise KeyringError(
            f"there is no folder for a lock file ({type(error).__name__})",
            hint="set XDG_RUNTIME_DIR or HOME to a folder that this user may write to",
            code="keyring_busy",
        ) from error
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


def _checked_service(service: str) -> str:
    if not service.isprintable() or not service.strip():
        raise ConfigurationError(
            f"not a service in a keyring: {service!r}",
            hint="use printable characters",
            code="keyring_service",
        )
    return service
