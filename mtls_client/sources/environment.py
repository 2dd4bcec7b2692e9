"""Identities from environment variables, and from the credentials that systemd hands a service."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from cryptography import x509

from mtls_client._formats import reading
from mtls_client._formats.contents import Contents
from mtls_client._formats.passwords import Secret
from mtls_client.errors import AmbiguousIdentityError, IdentityError, IdentityNotFoundError
from mtls_client.identity import Identity, assembled
from mtls_client.sources._digests import digest_of
from mtls_client.sources._places import check_permissions, joined, roots
from mtls_client.sources._variables import Variable
from mtls_client.sources.directory import DirectorySource

__all__ = ["EnvironmentSource"]

_PASSWORDS = ("KEY_PASSWORD", "PKCS12_PASSWORD")
_PARTS = ("CERT", "KEY", "PKCS12", "CA", *_PASSWORDS)


class EnvironmentSource:
    r"""Loads an identity from variables, which are read at each load.

    `CERT`, `KEY`, `KEY_PASSWORD`, `PKCS12`, `PKCS12_PASSWORD` and `CA`, each after the prefix,
    hold PEM (with line breaks or a literal `\n`), base64, or `file:PATH`; a password stands for
    itself, or is `file:PATH`. What is not set is looked for in the folder `CREDENTIALS_DIRECTORY`
    (systemd.exec(5), LoadCredential=) as a file of that name, as it is or in lower case. If
    nothing is set, that folder is read as `DirectorySource` reads one.

    Args:
        prefix: the begin of the names.
        select: which identity, if there are several, see `FileSource`.
        environ: the variables; those of the process if None.

    Example:
        >>> EnvironmentSource("ORDERS_").load()  # doctest: +SKIP
    """

    def __init__(
        self,
        prefix: str = "MTLS_CLIENT_",
        *,
        select: str | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._prefix = prefix
        self._select = select
        self._environ = environ

    def load(self) -> Identity:
        """Read the variables.

        Raises:
            IdentityNotFoundError: none is set.
            AmbiguousIdentityError: there are both a PKCS#12 file and a certificate or key.
            IdentityError: see its subclasses and their `code`; the message names the variable
                and never what is in it.
        """
        values = self._values()
        ours = [values[part] for part in ("CERT", "KEY") if part in values]
        password = values.get("KEY_PASSWORD")
        if bundle := values.get("PKCS12"):
            if ours:
                raise AmbiguousIdentityError(
                    f"{bundle.name} is set, and {_all(ours)} too",
                    hint=f"unset {bundle.name}, or the other",
                    code="variable_ambiguous",
                )
            ours, password = [bundle], values.get("PKCS12_PASSWORD")
        if not ours:
            return self._load_folder(values)
        secret = Secret(password.password if password else None)
        contents = Contents()
        for one in ours:
            data = one.read()
            with self._naming(one.name):
                part = reading.read(data, secret)
            contents = joined(contents, part)
            if part.exposed and one.named and one.path is not None:
                self._complain(one.path, one.name)
        anchors: tuple[x509.Certificate, ...] = ()
        if authority := values.get("CA"):
            data = authority.read()
            with self._naming(authority.name):
                anchors = roots(data, secret)
        with self._naming(_all(ours)):
            return assembled(contents, self._select, roots=anchors)

    def digest(self) -> bytes:
        """Return a SHA-256 over the variables and the files that they name."""
        values = self._values()
        parts = [part for key, one in values.items() for part in (key.encode(), one.seen())]
        with contextlib.suppress(IdentityNotFoundError):
            parts.append(self._fallback(values).digest())
        return digest_of(*parts)

    def __repr__(self) -> str:
        return f"EnvironmentSource({self._prefix!r})"

    def _values(self) -> dict[str, Variable]:
        environ = os.environ if self._environ is None else self._environ
        folder = environ.get("CREDENTIALS_DIRECTORY")
        found = {}
        for part in _PARTS:
            name = self._prefix + part
            if value := environ.get(name):
                found[part] = Variable.saying(name, value)
            elif folder:
                paths = (Path(folder, name), Path(folder, name.lower()))
                if path := next((path for path in paths if os.path.exists(path)), None):
                    found[part] = Variable(name, path=path)
        return found

    def _fallback(self, values: dict[str, Variable]) -> DirectorySource:
        environ = os.environ if self._environ is None else self._environ
        folder = environ.get("CREDENTIALS_DIRECTORY")
        if folder and not values.keys() - {*_PASSWORDS}:
            passwords = [values[part].password for part in _PASSWORDS if part in values]
            return DirectorySource(
                folder, password=passwords[0] if passwords else None, select=self._select
            )
        raise self._unset("there is no file of such a name in $CREDENTIALS_DIRECTORY")

    def _load_folder(self, values: dict[str, Variable]) -> Identity:
        folder = self._fallback(values)
        try:
            return folder.load()
        except IdentityNotFoundError as error:
            if error.code != IdentityNotFoundError.code:
                raise
            raise self._unset(str(error.args[0])) from error

    def _unset(self, more: str) -> IdentityNotFoundError:
        names = [self._prefix + part for part in ("CERT", "KEY", "PKCS12")]
        return IdentityNotFoundError(
            f"none of {', '.join(names)} is set, and {more}",
            hint=f"set {names[0]} and {names[1]}, or {names[2]}, to PEM, base64 or file:PATH",
            code="variable_unset",
        )

    def _complain(self, path: Path, name: str) -> None:
        check_permissions(path, strict=False, named=f"the file that {name} names")

    @contextlib.contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        try:
            yield
        except IdentityError as error:
            hints = {
                "identity_ambiguous": "select one with EnvironmentSource(select=…)",
                "no_certificate": f"set {self._prefix}CERT too",
                "no_key": f"set {self._prefix}KEY too",
                "password_needed": f"set {name}_PASSWORD",
                "unknown_format": "set it to PEM, to base64 of a file, or to file:PATH",
            }
            hint = hints.get(error.code, error.hint)
            raise type(error)(
                f"{name}: {error.args[0]}", hint=hint, code=error.code
            ) from error.__cause__


def _all(variables: list[Variable]) -> str:
    return " and ".join(one.name for one in variables)
