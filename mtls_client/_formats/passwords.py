"""Passwords: a str, bytes, a file, a function or none; fetched when needed, and only once."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import TypeAlias, TypeVar

from mtls_client._os import files
from mtls_client.errors import (
    ConfigurationError,
    IdentityError,
    IdentityFormatError,
    PasswordError,
)

__all__ = ["Password", "Secret", "TooLong", "away_from_the_loop"]

Password: TypeAlias = "str | bytes | Path | Callable[[], str | bytes] | None"  # noqa: S105 (a type)

_T = TypeVar("_T")

_MOST_ROUNDS = 10_000_000
"""Of key derivation, for all that is loaded at once: some ten seconds of work."""


_LONG = 30_000
"""Rounds that may hold up other threads: some five milliseconds of work."""

_away: ContextVar[bool] = ContextVar("away", default=False)


class TooLong(Exception):
    """A derivation is to be made in another process, see `mtls_client._formats.aside`."""


@contextlib.contextmanager
def away_from_the_loop() -> Iterator[None]:
    """Derive keys in another process within a `with` block: it takes longer, and stalls nobody."""
    token = _away.set(True)
    try:
        yield
    finally:
        _away.reset(token)


class Secret:
    """A password while an identity is loaded, and how much work it may still cause.

    Args:
        given: the password; a `Path` to a file that holds it (one line break at its end is not
            part of it); a function that returns it; or None.
    """

    __slots__ = ("_given", "_known", "_rounds")

    def __init__(self, given: Password) -> None:
        self._given = given
        self._known: bytes | None = None
        self._rounds = 0

    def spend(self, rounds: int) -> None:
        """Count rounds of key derivation before they are run.

        Raises:
            IdentityFormatError: they are too many: a mistake, or an attack.
            TooLong: they are too many for this process, within `away_from_the_loop`.
        """
        self._rounds += rounds
        if self._rounds > _MOST_ROUNDS:
            raise IdentityFormatError(
                f"the key derivation asks for more than {_MOST_ROUNDS:,} rounds",
                hint="export it again with the default settings of the tool that made it",
                code="kdf_rounds",
            )
        # a frozen program is no interpreter: started again, it would run itself
        if self._rounds > _LONG and _away.get() and not getattr(sys, "frozen", False):
            raise TooLong

    def unlock(
        self, what: str, attempt: Callable[[bytes | None], _T], *, blank: bool = False
    ) -> _T:
        """Open something with the password.

        Args:
            what: its name, for the error.
            attempt: opens it; raises ValueError if the password is wrong.
            blank: it may have an empty password, or none; PKCS#12 tells the two apart.

        Raises:
            PasswordError: the password is wrong, or there is none.
        """
        password = self.revealed()
        candidates: list[bytes | None] = [password]
        if not password:
            candidates = [b"", None] if blank else [b""] if password is not None else []
        for candidate in candidates:
            with contextlib.suppress(ValueError):
                return attempt(candidate)
        if password is None:
            raise PasswordError(
                f"{what} is encrypted and no password was given",
                hint="pass password='…', password=Path('file') or a function that returns it",
                code="password_needed",
            )
        wrong = PasswordError(
            f"wrong password for {what}",
            hint="check the password; a damaged file looks the same",
            code="password_wrong",
        )
        if password != password.strip():
            with contextlib.suppress(ValueError):
                attempt(password.strip())
                wrong = PasswordError(
                    f"wrong password for {what}: it is right but for a space or line break around",
                    hint="strip it, or give its file as password=Path(…)",
                    code="password_whitespace",
                )
        raise wrong

    def revealed(self) -> bytes | None:
        """Return the password, or None; a function is asked once."""
        if self._known is None and self._given is not None:
            self._known = _fetched(self._given)
        return self._known

    def __repr__(self) -> str:
        return "<Secret>"


def _fetched(given: str | bytes | Path | Callable[[], str | bytes]) -> bytes:
    if isinstance(given, Path):
        try:
            content = files.read(given)
        except IdentityError as error:
            raise PasswordError(
                f"the password file {error.args[0]}", hint=error.hint, code="password_file"
            ) from error.__cause__
        return content.removesuffix(b"\n").removesuffix(b"\r")
    value = given() if callable(given) else given
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, bytes):
        return value
    raise ConfigurationError(
        f"a password is a str, bytes, Path or a function that returns one, "
        f"not {type(value).__name__}",
        code="password_type",
    )
