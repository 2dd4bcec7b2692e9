"""Our identity as it is loaded, and what its files look like."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from mtls_client._formats import chain, fitness, parsing, pem, reading
from mtls_client._formats.contents import Contents
from mtls_client._formats.passwords import Secret
from mtls_client._os import files
from mtls_client.credential import Credential
from mtls_client.doctor.bounds import bounded
from mtls_client.doctor.catalogue import found, loading
from mtls_client.doctor.report import Finding
from mtls_client.errors import IdentityError, MTLSError
from mtls_client.identity import Identity, IdentityWarning
from mtls_client.sources.base import Source

__all__ = ["Ours", "loaded"]


@dataclass(frozen=True, slots=True)
class Ours:
    """What there is of our identity.

    Attributes:
        wanted: somebody asked for one.
        identity: it, or None if it could not be loaded.
        leaf: its certificate; also one whose key could not be had.
        chain: the leaf's issuers.
    """

    wanted: bool
    identity: Identity | None = None
    leaf: x509.Certificate | None = None
    chain: tuple[x509.Certificate, ...] = ()


def loaded(source: Source | Credential | None, seconds: float) -> tuple[Ours, list[Finding]]:
    """Load an identity, and look at the files that it is in.

    Args:
        source: where it comes from; a credential stands for the identity that it presents.
        seconds: the longest that the source may take.
    """
    if source is None:
        return Ours(wanted=False), []
    findings: list[Finding] = []
    identity = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", IdentityWarning)
        try:
            identity = bounded(lambda: _identity(source), seconds)
        except MTLSError as error:
            findings.append(loading(error))
        except TimeoutError:
            hint = "is it waiting for somebody, or a named pipe that nobody writes to?"
            findings.append(found("source_slow", f"no answer after {seconds:g} seconds", hint))
        except Exception as error:
            # not what it says: a source of somebody else's may put anything there
            evidence = f"{type(error).__name__} in load()"
            findings.append(found("source_failed", evidence, "see that source's own documentation"))
    findings += [_exposed(one) for one in caught if isinstance(one.message, IdentityWarning)]
    read = {path: _bytes(path) for path in getattr(source, "paths", ())}
    given = {path: _glance(data) for path, data in read.items()}
    findings += _of_files(given, identity)
    for path, data in read.items():
        if misnamed := _misnamed(path, data):
            hint = "read all the same: content counts"
            findings.append(found("file_misnamed", f"{path}: {misnamed}", hint))
    if identity is not None:
        return Ours(True, identity, identity.certificate, identity.chain), findings
    return _without_key(given.values()), findings


def _bytes(path: Path) -> bytes:
    try:
        return files.read_if_regular(path) or b""
    except (OSError, ValueError):
        return b""


def _glance(data: bytes) -> Contents:
    """Return what can be seen in a file without its password."""
    try:
        return reading.read(data, Secret(None))
    except IdentityError:
        pass
    try:
        return reading.without_keys(data)
    except IdentityError:
        return Contents()


def _identity(source: Source | Credential) -> Identity:
    return source.identity if isinstance(source, Credential) else source.load()


def _exposed(warning: warnings.WarningMessage) -> Finding:
    evidence, _, hint = str(warning.message).rpartition("; ")
    return found("key_permissions", evidence, hint)


def _without_key(given: Iterable[Contents]) -> Ours:
    values = [one.value for contents in given for one in contents.certificates]
    certificates = [one for one in values if parsing.readable(one)]
    leaf = next((one for one in certificates if not fitness.is_ca(one)), None)
    if leaf is None:
        return Ours(wanted=True)
    return Ours(True, None, leaf, chain.ordered(leaf, certificates)[0])


def _of_files(given: dict[Path, Contents], identity: Identity | None) -> Iterator[Finding]:
    paths = list(given)
    if identity is None:
        yield from _wrong(given)
    elif len(paths) > 1 and given[paths[1]].certificates and not given[paths[0]].certificates:
        yield found(
            "files_swapped",
            f"{paths[0]} holds no certificate, {paths[1]} does",
            f"read all the same; for other programs name {paths[1]} as the certificate",
        )
    for path, contents in given.items():
        values = [one.value for one in contents.certificates]
        if len(values) > len(set(values)):
            yield found("chain_duplicate", str(path), "leave it there once")
        if identity is not None:
            yield from _disordered(path, values, identity)
    if identity is not None and identity.notes:
        yield found("chain_unrelated", "\n".join(identity.notes), "they are not sent")


def _wrong(given: dict[Path, Contents]) -> Iterator[Finding]:
    for path, contents in given.items():
        if "certificate request" in contents.others and not contents.certificates:
            hint = "give the certificate that the CA made of it"
            yield found("file_request", f"{path} holds a certificate request", hint)
        if "public key" in contents.others and not contents.keys:
            hint = "give the private key: BEGIN PRIVATE KEY, or BEGIN EC or RSA PRIVATE KEY"
            yield found("file_public_key", f"{path} holds a public key", hint)


def _misnamed(path: Path, data: bytes) -> str | None:
    binary = data[:1] == b"\x30"
    match path.suffix.lower():
        case ".pem" if binary:
            return "binary (DER), although it is called .pem"
        case (".der" | ".p12" | ".pfx") as suffix if pem.is_pem(data):
            return f"text (PEM), although it is called {suffix}"
    return None


def _disordered(path: Path, values: list[x509.Certificate], ours: Identity) -> Iterator[Finding]:
    """Compare the order of a file with that of RFC 8446 §4.4.2: the leaf first, then issuers."""
    chain_ = [one for one in (ours.certificate, *ours.chain) if one in values]
    there = [one for one in dict.fromkeys(values) if one in chain_]
    if ours.certificate in there and there != chain_:
        yield found(
            "chain_disordered",
            f"{path}: the certificate is number {there.index(ours.certificate) + 1} of "
            f"{len(there)}, or its issuers are mixed up",
            "sent in the right order all the same; other programs want the certificate first, "
            "then its issuer, then the issuer's",
        )
