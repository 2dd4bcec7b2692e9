"""`mtls csr`: a private key and a certificate signing request, for a CA that is asked by mail."""

from __future__ import annotations

import ipaddress
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import click
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mtls_client._formats import keys, names, pairing, writing
from mtls_client._os import files
from mtls_client.cli.certificate import leaf_of
from mtls_client.cli.failures import USAGE, WRITE, Exit
from mtls_client.cli.identity import secret_bytes, select_option
from mtls_client.cli.saving import unwritable
from mtls_client.cli.terminal import asked_password
from mtls_client.errors import ConfigurationError
from mtls_client.renewers.csr import KeyKind, Request, fresh_key, kept

__all__ = ["command"]

_HOST = re.compile(r"(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--cn", metavar="NAME", help="The common name of the subject.")
@click.option("--subject", metavar="NAME", help="The whole subject: CN=orders,O=Example,C=DE.")
@click.option("--dns", multiple=True, metavar="NAME", help="A DNS name; may be repeated.")
@click.option("--ip", multiple=True, metavar="ADDRESS", help="An IP address; may be repeated.")
@click.option("--uri", "uris", multiple=True, metavar="URI", help="A URI, such as a SPIFFE ID.")
@click.option("--email", multiple=True, metavar="ADDRESS", help="An email address.")
@click.option(
    "-E",
    "--cert",
    "--renew",
    metavar="FILE",
    help="Ask for what this certificate has: subject, names, usage, kind of key.",
)
@click.option("--identity", metavar="URI", help="The same of keyring:NAME, dir:PATH, …")
@select_option
@click.option(
    "--key-type",
    type=click.Choice(get_args(KeyKind)),
    help="The kind of the key (ec, which is P-256, or that of --cert).",
)
@click.option(
    "-o",
    "--output",
    default="client.csr",
    metavar="FILE",
    help="The request (client.csr); the key goes beside it, to client.key.",
)
@click.option("--encrypt", is_flag=True, help="Encrypt the key, with --pass or after a prompt.")
@click.option(
    "--pass",
    "password",
    metavar="WHERE",
    help="Encrypt the key with this password: env:NAME, file:PATH or fd:N. It also opens the "
    "certificate of --renew, if that is encrypted.",
)
def command(
    cn: str | None,
    subject: str | None,
    dns: Sequence[str],
    ip: Sequence[str],
    uris: Sequence[str],
    email: Sequence[str],
    cert: str | None,
    identity: str | None,
    select: str | None,
    key_type: KeyKind | None,
    output: str,
    password: str | None,
    encrypt: bool,
) -> None:
    """Make a private key and a certificate signing request.

    \b
    mtls csr --cn orders --dns orders.example.com -o orders.csr
    mtls csr --renew client.pem -o renewed.csr

    Send the request to the CA and keep the key. When the certificate has come:

    \b
    mtls identity complete CERT
    """
    named = bool(cn or subject or dns or ip or uris or email)
    renewed = cert is not None or identity is not None
    if named and renewed:
        raise Exit(USAGE, "the names come from --cert or --identity, or from options, not both")
    if not named and not renewed:
        raise Exit(
            USAGE, "whom is the certificate for?", "give --cn NAME, --dns NAME or --renew FILE"
        )
    path = Path(output)
    beside = path.with_suffix(".key")
    if beside == path:
        raise Exit(
            USAGE, f"{output}: the key goes there", "name the request otherwise: -o NAME.csr"
        )
    for one in (beside, path):
        if os.path.lexists(one):
            raise _taken(one)
    word = None if password is None else secret_bytes(password)
    if renewed:
        old = leaf_of(cert, word, select, identity).certificate
        asked, wanted, like = old.subject, kept(old), old.public_key()
    else:
        asked, wanted = _subject(cn, subject), _extensions(dns, ip, uris, email, cn or subject)
        like = None
    if encrypt and word is None:
        word = _new_password(beside)
    request = Request(fresh_key(key_type or like or "ec"), asked, wanted)
    _write(request, path, beside, word)
    _tell(request, path, beside, encrypted=word is not None)


def _subject(cn: str | None, subject: str | None) -> x509.Name:
    if cn and subject:
        raise Exit(USAGE, "--cn and --subject contradict each other", "--subject CN=NAME,O=…")
    try:
        if subject:
            return x509.Name.from_rfc4514_string(subject)
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cn)] if cn else [])
    except ValueError as error:
        raise Exit(
            USAGE,
            f"{subject or cn}: not a subject",
            "write it as mtls show prints it, CN=orders,O=Example,C=DE; a common name has at most "
            "64 characters, a country two",
        ) from error


def _extensions(
    dns: Sequence[str],
    ip: Sequence[str],
    uris: Sequence[str],
    email: Sequence[str],
    subject: str | None,
) -> list[tuple[x509.ExtensionType, bool]]:
    found: list[x509.GeneralName] = [_dns(one) for one in dns]
    found += [_ip(one) for one in ip]
    found += [_uri(one) for one in uris]
    found += [_email(one) for one in email]
    wanted: list[tuple[x509.ExtensionType, bool]] = [
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
    ]
    if found:
        # without a subject the names are critical (RFC 5280 §4.2.1.6)
        wanted.append((x509.SubjectAlternativeName(found), subject is None))
    return wanted


def _dns(name: str) -> x509.DNSName:
    if not _HOST.fullmatch(name):
        raise _no_name("--dns", name, "orders.example.com; an international one as xn--…")
    return x509.DNSName(name)


def _ip(address: str) -> x509.IPAddress:
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError as error:
        raise _no_name("--ip", address, "192.0.2.1 or 2001:db8::1") from error


def _uri(uri: str) -> x509.UniformResourceIdentifier:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+", uri):
        raise _no_name("--uri", uri, "spiffe://example.com/orders")
    return x509.UniformResourceIdentifier(uri)


def _email(address: str) -> x509.RFC822Name:
    if not re.fullmatch(r"[!-?A-~]+@[!-?A-~]+", address):
        raise _no_name("--email", address, "orders@example.com")
    return x509.RFC822Name(address)


def _no_name(option: str, value: str, example: str) -> Exit:
    return Exit(USAGE, f"{option} {value!r} is no such name", f"write it like {example}")


def _taken(path: Path) -> Exit:
    return Exit(
        WRITE,
        f"{path} exists already",
        "nothing is replaced, as a certificate may still come for it: choose another name with "
        "-o NAME.csr",
    )


def _new_password(path: Path) -> bytes:
    answer = asked_password(str(path), new=True)
    if answer is None:
        raise Exit(
            USAGE,
            "no password to encrypt the key with, and nobody is there to be asked",
            "give one with --pass env:NAME, --pass file:PATH or --pass fd:N",
        )
    return answer.encode()


def _write(request: Request, path: Path, beside: Path, word: bytes | None) -> None:
    """Write the key, then the request: where there is a request, there is a key."""
    try:
        key = writing.encoded_key(request.key, word)
    except ConfigurationError as error:
        raise Exit(USAGE, str(error.args[0]), "or leave --encrypt and --pass out") from error
    for file, data, mode in ((beside, key, 0o600), (path, request.pem, 0o644)):
        try:
            files.create(file, data, mode=mode)
        except FileExistsError as error:
            raise _taken(file) from error
        except OSError as error:
            raise unwritable(file, error) from error


def _tell(request: Request, path: Path, beside: Path, *, encrypted: bool) -> None:
    csr = request.csr
    state = "encrypted" if encrypted else "not encrypted"
    rows = [("subject", names.text(csr.subject) or "none")]
    for one in csr.extensions:
        if isinstance(one.value, x509.SubjectAlternativeName):
            rows.append(("names", ", ".join(str(name.value) for name in one.value)))
        if isinstance(one.value, x509.ExtendedKeyUsage):
            rows.append(("usage", ", ".join(oid._name for oid in one.value)))
    rows.append(("key", f"{keys.kind(request.key)}, {keys.bits(request.key)} bits"))
    rows.append(("pin", str(pairing.pin(csr.public_key()))))
    click.echo(f"{path}  the request: send it to the CA")
    for name, value in rows:
        click.echo(f"    {name:<8}{value}")
    click.echo(f"{beside}  its private key, {state}: keep it, and send it to nobody")
    click.echo("\nwhen the certificate has come:\n")
    folder = "" if path.parent == Path() else f" --key {shlex.quote(str(beside))}"
    click.echo(f"    mtls identity complete CERT{folder}")
