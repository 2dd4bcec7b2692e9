"""Every way in which an identity lies in files, as a folder that is filled with one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

import mtls_client as mtls
from mtls_client._formats.writing import encoded_key
from mtls_client.sources import Savable

Layout = Callable[[Path, mtls.Identity], Savable]

PASSWORD = "opens it"


def _put(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.touch(mode)
    path.write_bytes(data)
    return path


def _chain(identity: mtls.Identity) -> bytes:
    return b"".join(one.public_bytes(Encoding.PEM) for one in identity.chain)


def one_pem(folder: Path, identity: mtls.Identity) -> mtls.FileSource:
    identity.save_pem(folder / "client.pem", password=None)
    return mtls.FileSource(folder / "client.pem")


def one_encrypted_pem(folder: Path, identity: mtls.Identity) -> mtls.FileSource:
    identity.save_pem(folder / "client.pem", password=PASSWORD)
    return mtls.FileSource(folder / "client.pem", password=PASSWORD)


def pkcs12(folder: Path, identity: mtls.Identity) -> mtls.FileSource:
    identity.save_pkcs12(folder / "client.p12", password=PASSWORD, label="orders")
    return mtls.FileSource(folder / "client.p12", password=PASSWORD, select="orders")


def open_pkcs12(folder: Path, identity: mtls.Identity) -> mtls.FileSource:
    identity.save_pkcs12(folder / "client.p12", password=None)
    return mtls.FileSource(folder / "client.p12")


def pair(folder: Path, identity: mtls.Identity) -> mtls.FileSource:
    _put(folder / "client.crt", identity.certificate_pem(), 0o644)
    _put(folder / "client.key", identity.private_key_pem())
    return mtls.FileSource(folder / "client.crt", folder / "client.key")


def encrypted_pair(folder: Path, identity: mtls.Identity) -> mtls.FileSource:
    _put(folder / "client.crt", identity.certificate_pem())
    _put(folder / "client.key", encoded_key(identity.private_key, PASSWORD))
    _put(folder / "password", PASSWORD.encode() + b"\n")
    return mtls.FileSource(
        folder / "client.crt", folder / "client.key", password=folder / "password"
    )


def der_pair(folder: Path, identity: mtls.Identity) -> mtls.FileSource:
    _put(folder / "client.der", identity.certificate.public_bytes(Encoding.DER))
    _put(folder / "key.der", encoded_key(identity.private_key, None, Encoding.DER))
    return mtls.FileSource(folder / "client.der", folder / "key.der")


def with_chain(folder: Path, identity: mtls.Identity) -> mtls.FileSource:
    _put(folder / "leaf.pem", identity.certificate.public_bytes(Encoding.PEM))
    _put(folder / "leaf.key", identity.private_key_pem())
    _put(folder / "chain.pem", _chain(identity))
    return mtls.FileSource(folder / "leaf.pem", folder / "leaf.key", chain=folder / "chain.pem")


def kubernetes_names(folder: Path, identity: mtls.Identity) -> mtls.DirectorySource:
    _put(folder / "tls.crt", identity.certificate_pem())
    _put(folder / "tls.key", identity.private_key_pem())
    _put(folder / "ca.crt", _chain(identity))
    return mtls.DirectorySource(folder)


def certbot_names(folder: Path, identity: mtls.Identity) -> mtls.DirectorySource:
    _put(folder / "cert.pem", identity.certificate.public_bytes(Encoding.PEM))
    _put(folder / "privkey.pem", identity.private_key_pem())
    _put(folder / "chain.pem", _chain(identity))
    return mtls.DirectorySource(folder)


LAYOUTS: dict[str, Layout] = {
    made.__name__: made
    for made in (
        one_pem,
        one_encrypted_pem,
        pkcs12,
        open_pkcs12,
        pair,
        encrypted_pair,
        der_pair,
        with_chain,
        kubernetes_names,
        certbot_names,
    )
}
