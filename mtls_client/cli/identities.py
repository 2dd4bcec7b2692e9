"""`mtls identity …`: identities in the OS keyring."""

from __future__ import annotations

import json as jsonlib
import shlex
from pathlib import Path

import click

from mtls_client._formats.contents import Certificate, Contents, Key
from mtls_client.cli import complete
from mtls_client.cli.failures import OUR_CERTIFICATE, USAGE, Exit
from mtls_client.cli.identity import identity_of, password_option, secret_bytes, select_option
from mtls_client.cli.saving import exists, require_writable, summary, uri, write
from mtls_client.cli.show import described, print_described
from mtls_client.cli.terminal import asked_password, complain, confirmed, note
from mtls_client.errors import ConfigurationError, IdentityError, IdentityNotFoundError
from mtls_client.sources.keyring import KeyringSource

__all__ = ["command"]


@click.group(no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Keep identities in the OS keyring, and use them with --identity keyring:NAME."""


command.add_command(complete.command)


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
    if not force and exists(source):
        raise Exit(
            OUR_CERTIFICATE,
            f"{uri(name)} exists already",
            "replace it with --force, or choose another name",
        )
    identity = identity_of(file, key, password, select)
    assert identity is not None  # a file was given
    source.save(identity)
    click.echo(f"{uri(name)}  {summary(identity)}")
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
                click.echo(f"{name}  {summary(identity)}")
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
    shown = [{"file": uri(name), **described(contents)}]
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
    if password and no_encryption:
        raise Exit(USAGE, "--pass and --no-encryption contradict each other")
    require_writable(path, force=force)
    identity = KeyringSource(name).load()
    chosen = None if no_encryption else _new_password(file, password)
    try:
        write(identity, path, chosen, label=name)
    except ConfigurationError as error:
        raise Exit(USAGE, str(error.args[0]), "or write --no-encryption") from error


@command.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(name: str, yes: bool) -> None:
    """Remove a stored identity, its private key with it."""
    source = KeyringSource(name)
    if not yes:
        answer = confirmed(f"delete {uri(name)} and its private key?")
        if answer is None:
            raise Exit(USAGE, "nobody is there to be asked", "write --yes")
        if not answer:
            raise click.Abort
    source.delete()


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
