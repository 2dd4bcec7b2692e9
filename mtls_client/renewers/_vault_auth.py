"""How a renewer gets a token of OpenBao or Vault: it has one, or it logs in.

Rules of this file: what is secret is fetched when it is used, never kept longer than a renewal,
and never in a `repr` or an error.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from mtls_client.errors import ConfigurationError, RenewalError, RenewalRefusedError
from mtls_client.renewers._secrets import revealed
from mtls_client.renewers._vault_api import API

if TYPE_CHECKING:
    from mtls_client.identity import Identity

__all__ = ["AppRole", "CertAuth", "Given", "Login", "Token", "way_in"]

Given: TypeAlias = "str | bytes | Path | Callable[[], str | bytes]"


@dataclass(frozen=True, slots=True)
class Token:
    """A token.

    Attributes:
        value: the token itself.
        temporary: it comes from a login of ours, and was not given to us.
    """

    value: str = field(repr=False)
    temporary: bool = False


class Login(Protocol):
    """A way to a token."""

    @property
    def presents(self) -> bool:
        """Whether the current identity is presented."""
        ...

    def token(self, api: API, current: Identity) -> Token:
        """Return a token."""
        ...


@dataclass(frozen=True, slots=True)
class AppRole:
    """A login with a role ID and a secret ID.

    Each is a str or bytes, a `Path` to a file, or a function that returns it; files and functions
    are asked at each renewal.

    Args:
        role_id: the role ID.
        secret_id: the secret ID; None if the role has `bind_secret_id=false`.
        mount: where the method is mounted.
    """

    role_id: Given = field(repr=False)
    secret_id: Given | None = field(default=None, repr=False)
    mount: str = "approle"
    presents = False

    def token(self, api: API, current: Identity) -> Token:  # noqa: ARG002 (of the protocol)
        """Log in."""
        body = {"role_id": _revealed("the role ID", self.role_id)}
        if self.secret_id is not None:
            body["secret_id"] = _revealed("the secret ID", self.secret_id)
        return _login(api, self.mount, body)


@dataclass(frozen=True, slots=True)
class CertAuth:
    """A login with the certificate that is to be renewed, while it is valid.

    Args:
        role: the name of one certificate role; None tries all of them.
        mount: where the method is mounted.
    """

    role: str | None = None
    mount: str = "cert"
    presents = True

    def token(self, api: API, current: Identity) -> Token:
        """Log in."""
        if current.expires_in().total_seconds() <= 0:
            raise RenewalRefusedError(
                f"our certificate expired {current.not_after:%Y-%m-%d %H:%M} UTC and cannot log in",
                hint="renew it once with token= or approle=, or import a new identity",
                code="vault_login",
            )
        return _login(api, self.mount, {"name": self.role} if self.role else {})


@dataclass(frozen=True, slots=True)
class _Known:
    given: Given | None = field(repr=False)
    presents = False

    def token(self, api: API, current: Identity) -> Token:  # noqa: ARG002 (of the protocol)
        return Token(_revealed("the token", self.given or _usual()))


def way_in(
    token: Given | None, approle: AppRole | None, cert_auth: CertAuth | str | bool | None
) -> Login:
    """Return the one way that was asked for.

    Raises:
        ConfigurationError: there are several, or it is none.
    """
    if (token is not None) + (approle is not None) + bool(cert_auth) > 1:
        raise _bad_login("several ways to log in", "give one of token=, approle= and cert_auth=")
    if approle is not None:
        if not isinstance(approle, AppRole):
            raise _bad_login(
                f"approle is of type {type(approle).__name__}",
                "write approle=AppRole(role_id, Path('secret-id'))",
            )
        return approle
    if isinstance(cert_auth, CertAuth):
        return cert_auth
    if cert_auth:
        return CertAuth(None if cert_auth is True else cert_auth)
    if not (token is None or callable(token) or isinstance(token, (str, bytes, Path))):
        raise _bad_login(
            f"the token is of type {type(token).__name__}",
            "pass a str, bytes, a Path to a file, or a function that returns it",
        )
    return _Known(token)


def _bad_login(what: str, hint: str) -> ConfigurationError:
    return ConfigurationError(f"Vault: {what}", hint=hint, code="vault_login")


def _login(api: API, mount: str, body: dict[str, str]) -> Token:
    answer = api.post(f"auth/{mount}/login", body, secrets=tuple(body.values()))
    found = answer.get("auth")
    if not (isinstance(found, dict) and found.get("client_token")):
        raise RenewalRefusedError(
            f"auth/{mount}/login gives no token",
            hint="is it the mount of a login method, without a second factor? bao auth list",
            code="vault_login",
        )
    return Token(str(found["client_token"]), temporary=True)


def _usual() -> Given:
    """Return the token that `bao` and `vault` would use."""
    for name in ("BAO_TOKEN", "VAULT_TOKEN"):
        if value := os.environ.get(name):
            return value
    path = Path("~/.vault-token").expanduser()
    if not path.exists():
        raise RenewalRefusedError(
            "there is no token in BAO_TOKEN, in VAULT_TOKEN or in ~/.vault-token",
            hint="pass token=, approle= or cert_auth=, or log in: bao login",
            code="vault_login",
        )
    return path


def _revealed(what: str, given: Given) -> str:
    text = revealed(what, given).decode("latin-1").strip()
    # not chained to anything: it would hold the secret
    if not (text and text.isascii() and text.isprintable()):
        raise RenewalError(
            f"{what} is empty, or holds what no header may",
            hint="look at where it comes from: it is one line of printable ASCII",
            code="renewal_secret",
        )
    return text
