"""`mtls identity …`: identities in the OS keyring."""

from __future__ import annotations

import json as jsonlib
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtls_client._formats.contents import Certificate, Contents, Key
from mtls_client.cli.failures import OUR_CERTIFICATE, USAGE, WRITE, Exit
from mtls_client.cli.identity import identity_of, password_option, secret_bytes, select_option
from mtls_client.cli.show import described, print_described
from mtls_client.cli.terminal import asked_password, complain, confirmed, note
from mtls_client.errors import ConfigurationError, IdentityError, IdentityNotFoundError
from mtls_client.sources.keyring import KeyringSource

if TYPE_CHECKING:
    from mtls_client.identity import Identity

__all__ = ["command"]

_PKCS12 = (".p12", ".pfx")
_PEM = (".pem",)


@click.group(no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Keep identities in the OS keyring, and use them with --identity keyring:NAME."""


@command.command("import")
@click.argument("file")
@click.argument("name")
@click.option("--key", metavar="FILE", help="The private key, if in another file.")
@password_option
@select_option
@click.option("--force", is_flag=True, help="Replace an identity of that name.")
def import_(
    file: str, name: str, key: str | None, password: str | None, select: str | None, force: bool
) -> None:
    """Store the identity in FILE as NAME."""
    source = KeyringSource(name)
    if not force and _exists(source):
        raise Exit(
            OUR_CERTIFICATE,
            f"{_uri(name)} exists already",
            "replace it with --force, or choose another name",
        )
    identity = identity_of(file, key, password, select)
    assert identity is not None  # a file was given
    source.save(identity)
    click.echo(f"{_uri(name)}  {_summary(identity)}")
    try:
        identity.require_usable()
    except IdentityError as error:
        note(str(error.args[0]))


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(as_json: bool) -> None:
    """List the stored identities."""
    rows, failed = [], False
    for name in KeyringSource.list():
        row: dict[str, str] = {"name": name}
        try:
            identity = KeyringSource(name).load()
        except IdentityNotFoundError:  # deleted since
            continue
        except IdentityError as error:
            failed = True
            row |= {"error": str(error.args[0]), "code": error.code}
            if not as_json:
                complain(str(error.args[0]), error.hint)
        else:
            row |= {
                "subject": identity.subject,
                "not_after": identity.not_after.isoformat(),
                "sha256": identity.fingerprint,
            }
            if not as_json:
                click.echo(f"{name}  {_summary(identity)}")
        rows.append(row)
    if as_json:
        click.echo(jsonlib.dumps(rows, indent=2, ensure_ascii=False))
    if failed:
        raise Exit(OUR_CERTIFICATE)


@command.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(name: str, as_json: bool) -> None:
    """Show a stored identity, its key left out."""
    identity = KeyringSource(name).load()
    certificates = tuple(map(Certificate, (identity.certificate, *identity.chain)))
    contents = Contents(certificates, (Key(identity.private_key),))
    shown = [{"file": _uri(name), **described(contents)}]
    if as_json:
        click.echo(jsonlib.dumps(shown, indent=2, ensure_ascii=False))
    else:
        print_described(shown)


@command.command()
@click.argument("name")
@click.argument("file")
@password_option
@click.option("--no-encryption", is_flag=True, help="Write the private key as it is.")
@click.option("--force", is_flag=True, help="Replace the file if it exists.")
def export(name: str, file: str, password: str | None, no_encryption: bool, force: bool) -> None:
    """Write a stored identity to FILE: PKCS#12 if it ends in .p12 or .pfx, PEM if in .pem."""
    path = Path(file)
    if path.suffix.lower() not in _PKCS12 + _PEM:
        raise Exit(USAGE, f"{file}: not the name of a .p12, .pfx or .pem file")
    if password and no_encryption:
        raise Exit(USAGE, "--pass and --no-encryption contradict each other")
    if not force and os.path.lexists(path):
        raise Exit(WRITE, f"{file} exists already", "replace it with --force")
    identity = KeyringSource(name).load()
    chosen = None if no_encryption else _new_password(file, password)
    try:
        if path.suffix.lower() in _PKCS12:
            identity.save_pkcs12(path, password=chosen, label=name)
        else:
            identity.save_pem(path, password=chosen)
    except ConfigurationError as error:
        raise Exit(USAGE, str(error.args[0]), "or write --no-encryption") from error
    except OSError as error:
        raise Exit(WRITE, f"{file} cannot be written: {error.strerror}".lower()) from error


@command.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(name: str, yes: bool) -> None:
    """Remove a stored identity, its private key with it."""
    source = KeyringSource(name)
    if not yes:
        answer = confirmed(f"delete {_uri(name)} and its private key?")
        if answer is None:
            raise Exit(USAGE, "nobody is there to be asked", "write --yes")
        if not answer:
            raise click.Abort
    source.delete()


def _exists(source: KeyringSource) -> bool:
    try:
        source.load()
    except IdentityNotFoundError:
        return False
    except IdentityError as error:
        if error.code.startswith("keyring") and error.code != "keyring_damaged":
            raise
    return True


def _new_password(file: str, where: str | None) -> str | bytes:
    answer = secret_bytes(where) if where is not None else asked_password(file, new=True)
    if answer is None:
        raise Exit(
            USAGE,
            "no password for the private key, and nobody is there to be asked",
            "give one with --pass env:NAME, --pass file:PATH or --pass fd:N, or write the key "
            f"unencrypted: --no-encryption {shlex.quote(file)}",
        )
    return answer


def _uri(name: str) -> str:
    """Return what --identity takes; a slash would set a service apart."""
    return "keyring:" + name.replace("%", "%25").replace("/", "%2F")


def _summary(identity: Identity) -> str:
    return f"{identity.subject}, until {identity.not_after:%Y-%m-%d}"
