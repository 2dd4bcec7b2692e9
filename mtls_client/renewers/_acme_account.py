"""The account at an ACME server: its key, which is kept, and its URL (RFC 8555 §7.3)."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mtls_client._formats import reading
from mtls_client._formats.passwords import Password, Secret
from mtls_client._os import files
from mtls_client._os.locks import locked
from mtls_client.errors import (
    ConfigurationError,
    IdentityError,
    IdentityNotFoundError,
    RenewalError,
    RenewalRefusedError,
)
from mtls_client.identity import IdentityWarning
from mtls_client.renewers._acme_network import Network
from mtls_client.renewers._acme_signing import Signer, is_base64url
from mtls_client.renewers._redaction import redacted
from mtls_client.renewers.csr import fresh_key

if TYPE_CHECKING:
    import httpx

__all__ = ["EAB", "Account", "AccountOptions", "kept_key"]

_LOCK_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class EAB:
    """What a CA hands out to tie an ACME account to a customer (RFC 8555 §7.3.4).

    Args:
        kid: the key identifier.
        key: the HMAC key in base64url: a str or bytes, a `Path` to a file that holds it, or a
            function that returns it. It is needed once, for a new account.
    """

    kid: str
    key: Password = field(repr=False)

    def revealed(self) -> str:
        """Return the HMAC key without padding.

        Raises:
            ConfigurationError: it is not base64url.
            PasswordError: its file cannot be read.
        """
        key = (Secret(self.key).revealed() or b"").decode("utf-8", "replace").strip().rstrip("=")
        if not is_base64url(key):
            raise ConfigurationError(
                "the HMAC key of the external account binding is not base64url",
                hint="give it as the CA has shown it",
                code="acme_eab",
            )
        return key


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountOptions:
    """What a new account is made with.

    Attributes:
        contact: URLs such as `mailto:ops@example.com`.
        agree_to_terms: whether the server's terms are agreed to.
        eab: the binding to an account outside of ACME.
    """

    contact: Sequence[str]
    agree_to_terms: bool
    eab: EAB | None


class Account:
    """An account, looked up by its key and made if there is none.

    Args:
        network: the conversation with the server.
        signer: the account's key.
        options: what a new account is made with.

    Attributes:
        url: the account's URL.
        signer: the account's key.

    Raises:
        RenewalError: the server has none for us.
    """

    def __init__(self, network: Network, signer: Signer, options: AccountOptions) -> None:
        self.signer, self._network = signer, network
        self.url = self._existing() or self._asked_for(self._registration(options))

    def post(self, url: str, payload: dict[str, Any] | None = None) -> httpx.Response:
        """Make a request of this account; without a payload, fetch."""
        return self._network.post(self.signer, url, payload, self.url)

    def _existing(self) -> str | None:
        try:
            return self._asked_for({"onlyReturnExisting": True})
        except RenewalError as error:
            if error.code != "acme_account_does_not_exist":
                raise
        return None

    def _asked_for(self, payload: dict[str, Any]) -> str:
        url = self._network.url("newAccount")
        response = self._network.post(self.signer, url, payload, None)
        return self._network.text(response.headers, "location")

    def _registration(self, options: AccountOptions) -> dict[str, Any]:
        meta = self._network.directory.get("meta")
        meta = meta if isinstance(meta, dict) else {}
        host = self._network.host
        if (terms := meta.get("termsOfService")) and not options.agree_to_terms:
            raise RenewalRefusedError(
                f"the issuer {host} has terms of service, and they are not agreed to",
                hint=f"read {redacted(str(terms))} and pass agree_to_terms=True",
                code="acme_terms",
            )
        if meta.get("externalAccountRequired") and options.eab is None:
            raise RenewalRefusedError(
                f"the issuer {host} makes accounts for its customers only, and there is no "
                "external account binding",
                hint="have the CA give you a key identifier and an HMAC key, and pass "
                "eab=EAB(kid, key)",
                code="acme_external_account_required",
            )
        payload: dict[str, Any] = {"contact": list(options.contact)} if options.contact else {}
        if options.agree_to_terms:
            payload["termsOfServiceAgreed"] = True
        if options.eab is not None:
            url = self._network.url("newAccount")
            binding = self.signer.binding(options.eab.kid, options.eab.revealed(), url)
            payload["externalAccountBinding"] = binding
        return payload


def kept_key(path: Path) -> PrivateKeyTypes:
    """Return the key that a file holds; if there is no file, make both, once for all processes.

    Args:
        path: the file, readable by its owner only.

    Raises:
        ConfigurationError: it holds no key, or cannot be read or written.
        RenewalError: another process is at it for too long.
    """
    try:
        return _read(path)
    except IdentityNotFoundError:
        pass
    try:
        with locked(f"acme account {path.resolve()}", _LOCK_TIMEOUT):
            if not path.exists():
                files.replace(path, _as_pem(fresh_key("ec")))
            return _read(path)
    except TimeoutError as error:
        raise RenewalError(
            f"{path}: another process has been making the account key for too long",
            hint="look for a process that hangs",
            code="acme_account_key_locked",
        ) from error
    except OSError as error:
        raise ConfigurationError(
            f"{path}: the account key cannot be written ({error.strerror})",
            hint=f"make the folder, and let this user write to it: {path.parent}",
            code="acme_account_key",
        ) from error


def _read(path: Path) -> PrivateKeyTypes:
    try:
        keys = reading.read(files.read(path), Secret(None)).keys
    except IdentityNotFoundError:
        raise
    except IdentityError as error:
        raise _unusable(path, str(error.args[0])) from error
    if len(keys) != 1:
        raise _unusable(path, f"it holds {len(keys) or 'no'} private keys, not one")
    if files.open_to_others(path):
        warnings.warn(
            f"{path}: the group or others may read this account key; chmod 600 "
            f"{shlex.quote(str(path))}",
            IdentityWarning,
            stacklevel=2,
        )
    return keys[0].value


def _unusable(path: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path}: no account key: {reason.removeprefix(f'{path}: ')}",
        hint="give a path where there is no file yet, and a key is made there",
        code="acme_account_key",
    )


def _as_pem(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
