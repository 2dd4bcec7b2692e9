"""`mtls pins HOST|FILE`: the pins of a server or of a file, ready to paste."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import click
from cryptography import x509

from mtls_client._tls.chain import verified_chain
from mtls_client.cli.failures import CONNECT, RESOLVE, TLS, Exit
from mtls_client.cli.identity import identity_of, identity_options, trust_of, trust_options
from mtls_client.cli.terminal import note
from mtls_client.errors import IdentityRejectedError, MTLSError
from mtls_client.pins import Pin

__all__ = ["command"]


@click.command()
@click.argument("where", metavar="HOST[:PORT]|FILE")
@identity_options
@trust_options
def command(
    where: str,
    cert: str | None,
    key: str | None,
    password: str | None,
    select: str | None,
    uri: str | None,
    cacert: str | None,
    pins: tuple[str, ...],
    crlfile: str | None,
    tls12: bool,
    tls13: bool,
    tls_max: str | None,
    allow_legacy_ca: bool,
) -> None:
    """Print the pins of a server's verified chain, or of the certificates in a file.

    The first line is the server's own key; the others are its issuers'. Pin at least two keys,
    one of which is not in use yet.
    """
    if Path(where).is_file():
        for certificate in _certificates(Path(where)):
            _print(certificate)
        return
    from mtls_client.context import MTLSContext

    trust = trust_of(
        cacert,
        pins,
        crlfile,
        tls12=tls12,
        tls13=tls13,
        tls_max=tls_max,
        allow_legacy_ca=allow_legacy_ca,
    )
    context = MTLSContext(identity_of(cert, key, password, select, uri), trust=trust)
    for certificate in _presented(where, context):
        _print(certificate)


def _print(certificate: bytes) -> None:
    parsed = x509.load_der_x509_certificate(certificate)
    until = f"until {parsed.not_valid_after_utc:%Y-%m-%d}"
    click.echo(f"{Pin.of(certificate)}  # {parsed.subject.rfc4514_string()}, {until}")


def _certificates(path: Path) -> list[bytes]:
    from cryptography.hazmat.primitives.serialization import Encoding

    from mtls_client.cli.show import contents_of

    return [one.value.public_bytes(Encoding.DER) for one in contents_of(path, None).certificates]


def _presented(where: str, context: ssl.SSLContext) -> list[bytes]:
    host, port = _address(where)
    try:
        with (
            socket.create_connection((host, port), timeout=30) as plain,
            context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            return list(verified_chain(connection))
    except IdentityRejectedError as error:
        # under TLS 1.2 the server's word comes before its chain can be had
        hint = "give --cert FILE, or let the server speak TLS 1.3"
        raise IdentityRejectedError(
            str(error.args[0]), reason=error.reason, alert=error.alert, host=error.host, hint=hint
        ) from error
    except MTLSError:
        raise
    except socket.gaierror as error:
        raise Exit(RESOLVE, f"(6) {host} cannot be resolved") from error
    except ssl.SSLError as error:
        raise Exit(TLS, f"(35) no TLS with {host}:{port}: {error.reason}".lower()) from error
    except OSError as error:
        raise Exit(CONNECT, f"(7) {host}:{port}: {error.strerror or error}".lower()) from error


def _address(where: str) -> tuple[str, int]:
    from urllib.parse import urlsplit

    parts = urlsplit(where if "://" in where else f"https://{where}")
    if parts.scheme != "https":
        note(f"{parts.scheme} has no certificates; trying https")
    return parts.hostname or "", parts.port or 443
