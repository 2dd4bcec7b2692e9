"""`mtls show FILE…`: what is in certificate files. Never a key."""

from __future__ import annotations

import datetime
import json as jsonlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_client._formats import fitness, parsing, reading
from mtls_client._formats.contents import Contents
from mtls_client._formats.passwords import Secret
from mtls_client._os import files
from mtls_client.cli.failures import OUR_CERTIFICATE, Exit
from mtls_client.cli.identity import in_options, password_option, secret
from mtls_client.cli.terminal import asked_password, complain, console
from mtls_client.errors import IdentityError, PasswordError
from mtls_client.pins import Pin

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["command", "contents_of", "described", "print_described"]


@click.command()
@click.argument("files_", metavar="FILE…", nargs=-1, required=True)
@password_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(files_: tuple[str, ...], password: str | None, as_json: bool) -> None:
    """Show what certificate files hold: identities, chains, dates, usage, pins.

    Private keys are named and matched, never printed.
    """
    shown, failed = [], False
    for name in files_:
        try:
            shown.append({"file": name, **described(contents_of(Path(name), password))})
        except IdentityError as error:
            failed = True
            hint = (error.hint or "").replace("FILE", shlex.quote(name)) or None
            shown.append({"file": name, "error": str(error.args[0]), "code": error.code})
            if not as_json:
                complain(f"{name}: {error.args[0]}".replace(f"{name}: {name}", name), hint)
                shown.pop()
    if as_json:
        click.echo(jsonlib.dumps(shown, indent=2, ensure_ascii=False))
    else:
        print_described(shown)
    if failed:
        raise Exit(OUR_CERTIFICATE)


def contents_of(path: Path, password: str | None) -> Contents:
    """Read a file, and ask for its password if there is somebody to ask."""
    data = files.read(path)
    try:
        return reading.read(data, Secret(secret(password)))
    except PasswordError as error:
        answer = asked_password(str(path)) if error.code == "password_needed" else None
        if answer is not None:
            return reading.read(data, Secret(answer))
        # the certificates of a PEM file can be shown without its key
        open_part = reading.without_keys(data)
        if not open_part.certificates:
            raise in_options(error) from error
        return open_part


def described(contents: Contents) -> dict[str, Any]:
    """Return what certificates and keys are, for JSON; of a key only that it is there."""
    keys = [key.value.public_key() for key in contents.keys]
    certificates = []
    for one in contents.certificates:
        value = one.value
        matched = value.public_key() in keys
        certificates.append(
            {
                "role": "identity" if matched else "CA" if fitness.is_ca(value) else "certificate",
                "label": one.label,
                "subject": value.subject.rfc4514_string(),
                "issuer": value.issuer.rfc4514_string(),
                "serial": parsing.serial(value),
                "not_before": value.not_valid_before_utc.isoformat(),
                "not_after": value.not_valid_after_utc.isoformat(),
                "key": _key(value),
                "signature": value.signature_algorithm_oid._name,
                "names": list(_names(value)),
                "usage": list(_usage(value)),
                "client_authentication": fitness.for_client_auth(value),
                "sha256": value.fingerprint(SHA256()).hex(),
                "pin": str(Pin.of(value.public_bytes(Encoding.DER))),
            }
        )
    ours = [one.value.public_key() for one in contents.certificates]
    return {
        "certificates": certificates,
        "keys": len(keys),
        "keys_without_certificate": sum(key not in ours for key in keys),
        "others": list(contents.others),
    }


def print_described(shown: list[dict[str, Any]]) -> None:
    """Print what was described, each with its `file`."""
    from rich.text import Text

    output = console()
    for one in shown:
        output.print(Text(one["file"], style="bold"))
        for certificate in one["certificates"]:
            output.print(_certificate(certificate))
        stray = one["keys_without_certificate"]
        if stray:
            output.print(f"  {stray} private key{'s' * (stray > 1)} without a certificate here")
        for other in one["others"]:
            output.print(f"  also: a {other}")


def _certificate(one: dict[str, Any]) -> Text:
    from rich.text import Text

    text = Text()
    text.append(f"  {one['role']}  ", "green" if one["role"] == "identity" else "cyan")
    text.append(one["subject"], "bold")
    label = one["label"]
    rows = [
        ("label", label),
        ("issuer", one["issuer"] if one["issuer"] != one["subject"] else "itself"),
        ("valid", _dates(one)),
        ("key", f"{one['key']}, signed with {one['signature']}"),
        ("names", ", ".join(one["names"])),
        ("usage", ", ".join(one["usage"]) or "not limited"),
        ("serial", one["serial"]),
        ("sha256", one["sha256"]),
        ("pin", one["pin"]),
    ]
    for name, value in rows:
        if value:
            style = "red" if name == "valid" and ("expired" in value or "not yet" in value) else ""
            text.append(f"\n    {name:<8}", "dim").append(value, style)
    return text


def _dates(one: dict[str, Any]) -> str:
    begin, end = (datetime.datetime.fromisoformat(one[k]) for k in ("not_before", "not_after"))
    now = datetime.datetime.now(datetime.UTC)
    if now >= end:
        left = f"expired {(now - end).days} days ago"
    elif now < begin:
        left = "not yet"
    else:
        days, hours = (end - now).days, (end - now).seconds // 3600
        left = f"{days} days left" if days else f"{hours} hours left"
    return f"{begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC, {left}"


def _key(certificate: x509.Certificate) -> str:
    key: Any = certificate.public_key()
    kind = type(key).__name__.removesuffix("PublicKey").replace("EllipticCurve", "EC ")
    size = getattr(key, "key_size", None)
    curve = getattr(getattr(key, "curve", None), "name", "")
    return f"{kind.strip()} {curve or size or ''}".strip()


def _names(certificate: x509.Certificate) -> Iterator[str]:
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            for name in extension.value:
                yield str(name.value)


def _usage(certificate: x509.Certificate) -> Iterator[str]:
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.KeyUsage):
            names = ("digital_signature", "key_encipherment", "key_cert_sign", "crl_sign")
            yield from (name.replace("_", " ") for name in names if getattr(extension.value, name))
        if isinstance(extension.value, x509.ExtendedKeyUsage):
            yield from (oid._name for oid in extension.value)
