"""`mtls identity complete CERT…`: join a CA's answer to the key of its request.

The request tells which key it is, so nobody has to: of the files `NAME.csr` beside the certificate
or in the current folder, the one with the certificate's public key; its key is `NAME.key`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from cryptography import x509

from mtls_client._formats import names, pairing, parsing, reading
from mtls_client._formats.contents import Certificate, Contents
from mtls_client._formats.passwords import Secret
from mtls_client._os import files
from mtls_client.cli.failures import OUR_CERTIFICATE, Exit
from mtls_client.cli.identity import in_options, password_option, secret_bytes
from mtls_client.cli.saving import exists, require_writable, summary, write
from mtls_client.cli.terminal import asked_password, note
from mtls_client.errors import IdentityError, IdentityExpiredError, PasswordError
from mtls_client.identity import Identity, assembled
from mtls_client.renewers.csr import issued
from mtls_client.sources.keyring import KeyringSource
from mtls_client.sources.uri import source_from

__all__ = ["command"]


@click.command("complete")
@click.argument("answer", metavar="CERT…", nargs=-1, required=True)
@click.option("--key", metavar="FILE", help="The private key, if its request is not here.")
@password_option
@click.option(
    "-o",
    "--output",
    metavar="FILE|keyring:NAME",
    help="Where to: a .pem, .p12 or .pfx file, or the keyring (NAME.pem beside NAME.key).",
)
@click.option("--force", is_flag=True, help="Replace what is there.")
def command(
    answer: Sequence[str], key: str | None, password: str | None, output: str | None, force: bool
) -> None:
    """Make an identity of a CA's answer and the key that mtls csr has made.

    CERT is the certificate, and its chain if the CA sent that in further files. A key that is
    encrypted stays so, under the same password.
    """
    certificates = _certificates([Path(one) for one in answer])
    path = Path(key) if key else _key_of(certificates, Path(answer[0]).parent)
    target = output or str(path.with_suffix(".pem"))
    source = source_from(target) if target.startswith("keyring:") else None
    if isinstance(source, KeyringSource):
        if not force and exists(source):
            raise Exit(OUR_CERTIFICATE, f"{target} exists already", "replace it with --force")
    else:
        require_writable(Path(target), force=force)
    identity, word = _joined(certificates, path, password)
    if isinstance(source, KeyringSource):
        source.save(identity)
    else:
        write(identity, Path(target), word, label=path.stem)
    click.echo(f"{target}  {summary(identity)}")
    _remark(identity, path, target)


def _certificates(paths: Sequence[Path]) -> tuple[Certificate, ...]:
    try:
        return issued([files.read(path) for path in paths])
    except IdentityError as error:
        where = ", ".join(map(str, paths))
        message = str(error.args[0])
        raise type(error)(
            message if where in message else f"{where}: {message}",
            hint=(error.hint or "").replace("FILE", shlex.quote(str(paths[0]))),
            code=error.code,
        ) from error


def _key_of(certificates: Sequence[Certificate], folder: Path) -> Path:
    public = [one.value.public_key() for one in certificates]
    others = []
    for path, request in _requests(folder):
        if request.public_key() in public:
            return path.with_suffix(".key")
        others.append(f"{path} has {pairing.pin(request.public_key())}")
    leaf = certificates[0].value
    known = "; " + ", ".join(others[:5]) if others else ""
    raise Exit(
        OUR_CERTIFICATE,
        f"no request here is for the key of {names.text(leaf.subject)}, which is "
        f"{pairing.pin(leaf.public_key())}{known}",
        "name the key that was made with its request: --key FILE",
    )


def _requests(folder: Path) -> Iterator[tuple[Path, x509.CertificateSigningRequest]]:
    seen = set()
    for place in (folder, Path()):
        for path in sorted(place.glob("*.csr")):
            if path.resolve() in seen:
                continue
            seen.add(path.resolve())
            try:
                data = files.read(path)
                yield path, _request(data)
            except (IdentityError, *parsing.UNREADABLE):
                continue  # somebody else's


@parsing.total
def _request(data: bytes) -> x509.CertificateSigningRequest:
    load = x509.load_der_x509_csr if data[:1] == b"\x30" else x509.load_pem_x509_csr
    request = load(data)
    _ = request.public_key()
    return request


def _joined(
    certificates: tuple[Certificate, ...], path: Path, password: str | None
) -> tuple[Identity, bytes | None]:
    """Return the identity, and the password that the key had."""
    data = files.read(path)
    word = None if password is None else secret_bytes(password)
    try:
        try:
            keys = reading.read(data, Secret(word)).keys
        except PasswordError as error:
            asked = asked_password(str(path)) if error.code == "password_needed" else None
            if asked is None:
                raise
            word = asked.encode()
            keys = reading.read(data, Secret(word)).keys
        identity = assembled(Contents(certificates, keys), None)
        _require_unexpired(identity)
    except IdentityError as error:
        raise in_options(error) from error
    return identity, word


def _require_unexpired(identity: Identity) -> None:
    try:
        identity.require_usable()
    except IdentityExpiredError as error:
        raise IdentityExpiredError(
            str(error.args[0]),
            hint="ask the CA for one that is valid; check this machine's clock, too",
        ) from error
    except IdentityError as error:
        note(str(error.args[0]))  # the CA's answer all the same


def _remark(identity: Identity, key: Path, target: str) -> None:
    if not identity.chain and identity.subject != identity.issuer:
        note(
            f"no chain came with it: if {identity.issuer} is not a root, ask for its certificate, "
            "and give it, too"
        )
    for one in identity.notes:
        note(one)
    left = [one for one in (key, key.with_suffix(".csr")) if one.exists() and str(one) != target]
    if left:
        listed = " ".join(shlex.quote(str(one)) for one in left)
        click.echo(f"\nthe key is in it now; once it works: rm {listed}")
