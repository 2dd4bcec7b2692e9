"""Our certificate without its key, for commands that only look at it."""

from __future__ import annotations

import datetime
import shlex
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from mtls_client._formats import names, reading, selection
from mtls_client._formats.contents import Certificate, Contents
from mtls_client._formats.passwords import Secret
from mtls_client._os import files
from mtls_client.cli.failures import USAGE, Exit
from mtls_client.cli.identity import in_options
from mtls_client.cli.terminal import asked_password
from mtls_client.errors import (
    AmbiguousIdentityError,
    IdentityError,
    IdentityNotFoundError,
    PasswordError,
)
from mtls_client.sources.uri import source_from

__all__ = ["Leaf", "leaf_of"]


@dataclass(frozen=True, slots=True)
class Leaf:
    """Our certificate, with the names that an identity has for its fields.

    Attributes:
        certificate: the certificate.
    """

    certificate: x509.Certificate

    @property
    def subject(self) -> str:
        """The subject, as RFC 4514 writes it."""
        return names.text(self.certificate.subject)

    @property
    def not_before(self) -> datetime.datetime:
        """The begin of the validity, in UTC."""
        return self.certificate.not_valid_before_utc

    @property
    def not_after(self) -> datetime.datetime:
        """The end of the validity, in UTC."""
        return self.certificate.not_valid_after_utc

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate in hex."""
        return self.certificate.fingerprint(SHA256()).hex()


def leaf_of(
    cert: str | None, password: bytes | Path | None, select: str | None, uri: str | None
) -> Leaf:
    """Return our certificate; the key is not opened if it is encrypted, nor read elsewhere.

    A password is asked for only where the certificate itself is encrypted, as in PKCS#12. What
    `--identity` names is loaded whole, and nothing is asked for.

    Raises:
        Exit: the options do not go together.
        IdentityError: there is none, or several.
    """
    if uri is not None and cert is not None:
        raise Exit(USAGE, "--identity stands in the place of --cert")
    if uri is None and cert is None:
        raise Exit(USAGE, "no certificate was named", "give --cert FILE or --identity URI")
    try:
        if uri is not None:
            return Leaf(source_from(uri, password=password, select=select).load().certificate)
        return _leaf(_read(Path(cert or ""), password), select, cert or "")
    except IdentityError as error:
        raise in_options(error) from error


def _read(path: Path, password: bytes | Path | None) -> Contents:
    data = files.read(path)
    open_part = reading.without_keys(data)
    if open_part.certificates:
        return open_part
    try:
        return reading.read(data, Secret(password))
    except PasswordError as error:
        answer = asked_password(str(path)) if error.code == "password_needed" else None
        if answer is None:
            raise
        return reading.read(data, Secret(answer))


def _leaf(contents: Contents, select: str | None, where: str) -> Leaf:
    found = _ours(contents)
    if select is not None:
        found = [one for one in found if selection.matches(one, select)]
    if not found:
        wanted = "" if select is None else f" matches --select {select}"
        raise IdentityNotFoundError(
            f"{where}: no certificate{wanted}",
            hint=f"look what is in it: mtls show {shlex.quote(where)}",
            code="no_certificate" if select is None else "selection_empty",
        )
    if len(found) > 1:
        leaves = [Leaf(one.value) for one in found]
        listed = "".join(f"\n    {one.fingerprint}  {one.subject}" for one in leaves)
        raise AmbiguousIdentityError(f"{where}: {len(found)} certificates:{listed}")
    return Leaf(found[0].value)


def _ours(contents: Contents) -> list[Certificate]:
    """Return those with a key beside them, or else those that have issued no other."""
    keys = [one.value.public_key() for one in contents.keys]
    every = list({one.value: one for one in contents.certificates}.values())
    issuers = {one.value.issuer for one in every if one.value.issuer != one.value.subject}
    return (
        [one for one in every if one.value.public_key() in keys]
        or [one for one in every if one.value.subject not in issuers]
        or every
    )
