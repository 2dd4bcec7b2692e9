"""The entries of the OS keyring: a safe backend only, no prompt, no hang, no value in an error."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from mtls_client.errors import KeyringError
from mtls_client.sources import _secret_service

__all__ = ["KeyringEntries"]

_T = TypeVar("_T")

_WINDOWS_LARGEST = 1280  # CRED_MAX_CREDENTIAL_BLOB_SIZE is 5 * 512 bytes
_NONE = ("keyring.backends.fail", "keyring.backends.null")
_SECRET_SERVICE = ("keyring.backends.SecretService", "keyring.backends.libsecret")


class KeyringEntries:
    """The entries of one service in the keyring that `keyring` would use.

    Args:
        service: the service.
        timeout: how many seconds a call may take.

    Raises:
        KeyringError: there is no keyring, or it is locked or unsafe.
    """

    def __init__(self, service: str, timeout: float) -> None:
        self._service = service
        self._timeout = timeout
        self._backend = self._answer(_usable_backend)
        on_windows = type(self._backend).__module__ == "keyring.backends.Windows"
        self.largest = _WINDOWS_LARGEST if on_windows else None

    def get(self, entry: str) -> str | None:
        """Return what an entry holds."""
        value = self._answer(lambda: self._backend.get_password(self._service, entry))
        return value if isinstance(value, str) else None

    def set(self, entry: str, value: str) -> None:
        """Write an entry."""
        self._answer(lambda: self._backend.set_password(self._service, entry, value))

    def remove(self, entry: str) -> None:
        """Remove an entry, if it is there."""
        # backends say "absent" and "refused" with the same exception
        if self.get(entry) is not None:
            self._answer(lambda: self._backend.delete_password(self._service, entry))

    def _answer(self, work: Callable[[], _T]) -> _T:
        """Let a thread do it, for a prompt that nobody sees blocks for ever."""
        results: list[_T] = []
        failures: list[BaseException] = []

        def run() -> None:
            try:
                results.append(work())
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=run, name="mtls-client keyring", daemon=True)
        thread.start()
        thread.join(self._timeout)
        if results:
            return results[0]
        # outside of any `except`: a backend's exception may hold a value, and is not chained
        raise (
            _failure(failures[0])
            if failures
            else KeyringError(
                f"the keyring did not answer in {self._timeout:g} seconds",
                hint="it may be asking for its password on a screen; unlock it there and try again",
                code="keyring_timeout",
            )
        )


def _usable_backend() -> Any:
    import keyring

    backend: Any = keyring.get_keyring()
    if type(backend).__module__ == "keyring.backends.chainer":
        # the first is the one that it writes to; the others may be unsafe
        backend = next(iter(backend.backends), None)
    modules = [kind.__module__ for kind in type(backend).__mro__]
    if backend is None or modules[0] in _NONE:
        raise _missing()
    if any(module.split(".")[:2] == ["keyrings", "alt"] for module in modules):
        raise KeyringError(
            f"not stored: the keyring backend {modules[0]} keeps values in files, unencrypted "
            "or under a password that it prompts for",
            hint="pip uninstall keyrings.alt and use the keyring of the system, or name a "
            "backend in PYTHON_KEYRING_BACKEND",
            code="keyring_refused",
        )
    if modules[0] in _SECRET_SERVICE:
        _secret_service.require_unlocked(getattr(backend, "preferred_collection", None))
    return backend


def _failure(error: BaseException) -> KeyringError:
    if isinstance(error, KeyringError):
        return error
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "KeyringLocked" in kinds:
        return KeyringError(
            "the keyring is locked", hint="unlock it and try again", code="keyring_locked"
        )
    if kinds & {"NoKeyringError", "SecretServiceNotAvailableException"}:
        return _missing()
    return KeyringError(
        f"the keyring backend failed ({type(error).__name__})",
        hint="see which one is used: keyring --list-backends; PYTHON_KEYRING_BACKEND and "
        "keyringrc.cfg choose it",
    )


def _missing() -> KeyringError:
    return KeyringError(
        "this session has no keyring service",
        hint="install and start one: gnome-keyring or KWallet on Linux; without a desktop, use "
        "a file",
        code="keyring_missing",
    )
