"""The identity and the trust that options describe."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mtls_client._os import files
from mtls_client.cli.failures import USAGE, Exit
from mtls_client.cli.terminal import asked_password
from mtls_client.errors import IdentityError, PasswordError
from mtls_client.pins import Pin

if TYPE_CHECKING:
    from mtls_client.identity import Identity
    from mtls_client.sources.base import Source
    from mtls_client.trust import Trust

__all__ = [
    "doubtful_source_of",
    "identity_of",
    "identity_options",
    "in_options",
    "password_option",
    "secret",
    "secret_bytes",
    "select_option",
    "source_of",
    "trust_of",
    "trust_options",
]

_F = TypeVar("_F", bound=Callable[..., Any])

password_option = click.option(  # shared with `mtls show`
    "--pass",
    "password",
    metavar="WHERE",
    help="The password of the key: env:NAME, file:PATH or fd:N. Without it, a prompt.",
)
select_option = click.option(
    "--select", metavar="WHICH", help="Which identity, by label, fingerprint, subject or for_mtls."
)


def identity_options(function: _F) -> _F:
    """Add the options that say who we are."""
    for option in reversed(
        [
            click.option(
                "-E", "--cert", metavar="FILE", help="Our certificate: PEM, DER, PKCS#12 or PKCS#7."
            ),
            click.option(
                "--identity", "uri", metavar="URI", help="Our identity: keyring:NAME, dir:PATH, …"
            ),
            click.option("--key", metavar="FILE", help="Its private key, if in another file."),
            password_option,
            select_option,
        ]
    ):
        function = option(function)
    return function


def trust_options(function: _F) -> _F:
    """Add the options that say whom we trust."""
    for option in reversed(
        [
            click.option("--cacert", metavar="FILE", help="Trust these CAs and no others."),
            click.option(
                "--pin",
                "--pinnedpubkey",
                "pins",
                multiple=True,
                metavar="PIN",
                help="sha256/… or sha256//…;sha256//… or a certificate or public-key file.",
            ),
            click.option("--crlfile", metavar="FILE", help="Check the server against this CRL."),
            click.option(
                "--tlsv1.2", "tls12", is_flag=True, help="TLS 1.2 or newer (the default)."
            ),
            click.option("--tlsv1.3", "tls13", is_flag=True, help="TLS 1.3 or newer."),
            click.option(
                "--tls-max", type=click.Choice(["1.2", "1.3", "default"]), help="At most this TLS."
            ),
            click.option(
                "--allow-legacy-ca", is_flag=True, help="Accept CAs that break RFC 5280 in form."
            ),
        ]
    ):
        function = option(function)
    return function


def identity_of(
    cert: str | None,
    key: str | None,
    password: str | None,
    select: str | None,
    uri: str | None = None,
) -> Identity | None:
    """Load the identity, and ask for its password if there is somebody to ask.

    Raises:
        Exit: the options do not go together.
        IdentityError: it cannot be loaded.
    """
    make = _maker(cert, key, password, select, uri)
    return _opened(make, uri or key or cert or "", secret(password))[1] if make else None


def source_of(
    cert: str | None,
    key: str | None,
    password: str | None,
    select: str | None,
    uri: str | None = None,
) -> Source:
    """Return the source of an identity that has been loaded once, see `identity_of`.

    Raises:
        Exit: no identity was named, or the options do not go together.
        IdentityError: it cannot be loaded.
    """
    make = _maker(cert, key, password, select, uri)
    if make is None:
        raise Exit(USAGE, "no identity was named", "give --cert FILE or --identity URI")
    return _opened(make, uri or key or cert or "", secret(password))[0]


def doubtful_source_of(
    cert: str | None,
    key: str | None,
    password: str | None,
    select: str | None,
    uri: str | None = None,
) -> Source | None:
    """Return the source of an identity that perhaps cannot be loaded, None if none was named.

    Its password is asked for if there is somebody to ask.

    Raises:
        Exit: the options do not go together.
        ConfigurationError: the URI is malformed.
    """
    make = _maker(cert, key, password, select, uri)
    if make is None:
        return None
    word = secret(password)
    try:
        return _opened(make, uri or key or cert or "", word)[0]
    except IdentityError:
        return make(word)


def trust_of(
    cacert: str | None,
    pins: Sequence[str] = (),
    crlfile: str | None = None,
    *,
    tls12: bool = False,
    tls13: bool = False,
    tls_max: str | None = None,
    allow_legacy_ca: bool = False,
) -> Trust:
    """Return the trust that options describe.

    Raises:
        ConfigurationError: an option is malformed, or they contradict each other.
    """
    from mtls_client.trust import Trust

    if tls12 and tls13:
        raise Exit(USAGE, "--tlsv1.2 and --tlsv1.3 contradict each other")
    options: Any = {
        "pins": [pin for text in pins for pin in _pins(text)],
        "crls": [crlfile] if crlfile else (),
        "minimum_version": "1.3" if tls13 else "1.2",
        "maximum_version": None if tls_max in (None, "default") else tls_max,
        "allow_legacy_ca": allow_legacy_ca,
    }
    return Trust.from_file(cacert, **options) if cacert else Trust.system(**options)


def secret(where: str | None, option: str = "--pass") -> bytes | Path | None:
    """Return the password, or the file it is in, that an option points to.

    Raises:
        Exit: it is no place but the password itself, or the place has none.
    """
    if where is None:
        return None
    kind, _, name = where.partition(":")
    if kind == "file" and name:
        return Path(name)
    if kind == "env" and name:
        value = os.environ.get(name)
        if value is None:
            raise Exit(
                USAGE, f"{option} env:{name}: there is no such variable", "set it, and export it"
            )
        return value.encode()
    if kind == "fd" and name.isdecimal():
        try:
            with os.fdopen(int(name), "rb") as file:
                return file.read().removesuffix(b"\n")
        except OSError as error:
            raise Exit(USAGE, f"{option} fd:{name}: {error.strerror}".lower()) from error
    raise Exit(
        USAGE,
        "a password on the command line is seen by every user of this machine",
        f"write {option} env:NAME, {option} file:PATH or {option} fd:N"
        + (", or leave it out to be asked" if option == "--pass" else ""),
    )


def secret_bytes(where: str, option: str = "--pass") -> bytes:
    """Return the password that an option points to, read at once.

    Raises:
        Exit: it is no place but the password itself, or the place has none.
    """
    value = secret(where, option)
    if isinstance(value, Path):
        try:
            return files.read(value).removesuffix(b"\n").removesuffix(b"\r")
        except IdentityError as error:
            raise Exit(USAGE, f"{option} {where}: {error.args[0]}", error.hint) from error
    return value or b""


def _maker(
    cert: str | None, key: str | None, password: str | None, select: str | None, uri: str | None
) -> Callable[[str | bytes | Path | None], Source] | None:
    """Return what makes the source of a password, or None if no identity is asked for."""
    if uri is not None:
        if cert or key:
            raise Exit(USAGE, "--identity stands in the place of --cert and --key")
        from mtls_client.sources.uri import source_from

        return lambda word: source_from(uri, password=word, select=select)
    if cert is None:
        if key or password or select:
            raise Exit(USAGE, "--key, --pass and --select go with --cert")
        return None
    from mtls_client.sources.files import FileSource

    _refuse_password_in(cert)
    return lambda word: FileSource(cert, key, password=word, select=select)


def _opened(
    make: Callable[[str | bytes | Path | None], Source], what: str, word: bytes | Path | None
) -> tuple[Source, Identity]:
    source = make(word)
    try:
        return source, source.load()
    except PasswordError as error:
        answer = asked_password(what) if error.code == "password_needed" else None
        if answer is None:
            raise in_options(error) from error
        source = make(answer)
        return source, source.load()
    except IdentityError as error:
        raise in_options(error) from error


def _pins(text: str) -> list[Pin]:
    if text.startswith("sha256/") or not Path(text).exists():
        return [Pin.parse(one) for one in text.split(";") if one]
    return [Pin.from_file(text)]


def _refuse_password_in(cert: str) -> None:
    # curl reads `file:password`
    path, colon, _ = cert.partition(":")
    if colon and not Path(cert).exists() and Path(path).exists():
        secret("")


def in_options(error: IdentityError) -> IdentityError:
    """Return the same error, its hint in terms of options."""
    hints = {
        "no_key": "give the key file too: --key FILE",
        "no_certificate": "give the certificate file: --cert FILE",
        "password_needed": "give it with --pass env:NAME, --pass file:PATH or --pass fd:N",
        "identity_ambiguous": "say which: --select FINGERPRINT",
    }
    return type(error)(str(error.args[0]), hint=hints.get(error.code, error.hint), code=error.code)
