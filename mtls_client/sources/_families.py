"""The names under which tools put an identity in a folder."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from mtls_client.errors import AmbiguousIdentityError, IdentityNotFoundError

__all__ = ["Family", "chosen", "present"]


class Family(NamedTuple):
    """Names that belong together.

    Attributes:
        certificate: the file with our certificate, and with its chain or everything.
        key: the file with the private key, None if it is with the certificate.
        roots: where the trust anchors are; the first name that is there counts.
        chain: a further file with intermediates, if there is one.
        unless: the certificate of a family that holds the same identity, and is preferred.
    """

    certificate: str
    key: str | None
    roots: tuple[str, ...] = ()
    chain: str | None = None
    unless: str | None = None

    def __str__(self) -> str:
        return f"{self.certificate} with {self.key}" if self.key else self.certificate

    def there(self, names: Collection[str]) -> Family:
        """Return the family without the names that are not there."""
        roots = [name for name in self.roots if name in names][:1]
        return self._replace(roots=tuple(roots), chain=self.chain if self.chain in names else None)

    def half(self, names: Collection[str]) -> str:
        """Return a complaint if only one file of the pair is there, nothing otherwise."""
        if self.key is None or (self.certificate in names) == (self.key in names):
            return ""
        there, missing = self.certificate, self.key
        if missing in names:
            there, missing = missing, there
        return f"; {there} is there, {missing} is not"

    @property
    def names(self) -> tuple[str, ...]:
        """Every name, once."""
        given = (self.certificate, self.key, self.chain, *self.roots)
        return tuple(name for name in given if name is not None)


_FAMILIES = (
    Family("tls.crt", "tls.key", ("ca.crt",)),  # Kubernetes, cert-manager
    Family("fullchain.pem", "privkey.pem"),  # certbot
    Family("cert.pem", "privkey.pem", chain="chain.pem", unless="fullchain.pem"),
    Family("svid.pem", "svid_key.pem", ("svid_bundle.pem", "bundle.pem")),  # spiffe-helper
    Family("svid.pem", "svid.key", ("svid_bundle.pem", "bundle.pem")),
    Family("svid.0.pem", "svid.0.key", ("bundle.0.pem",)),  # spire-agent api fetch -write
    Family("cert-chain.pem", "key.pem", ("root-cert.pem",)),  # Istio
    Family("cert.pem", "key.pem", ("ca.pem",)),  # Vault Agent
    Family("client.crt", "client.key", ("ca.crt",)),
    Family("client.pem", "client.key", ("ca.crt", "ca.pem")),
    # cert-manager writes it beside tls.crt, which needs no password
    Family("keystore.p12", None, ("ca.crt", "truststore.p12"), unless="tls.crt"),
)

_AUTHORITIES = ("ca", "root_ca", "intermediate_ca")
"""Whose pairs are nobody's identity."""


def chosen(folder: Path, names: Collection[str]) -> Family:
    """Return the one family that is in a folder.

    Args:
        folder: what to call it in an error.
        names: the names in it.

    Raises:
        IdentityNotFoundError: there is none.
        AmbiguousIdentityError: there are several.
    """
    whole = present(names)
    certificates = {one.certificate for one in whole}
    found = [one for one in whole if one.unless not in certificates] or _pairs(names)
    if not found:
        halves = [half for one in _FAMILIES if (half := one.half(names))]
        raise IdentityNotFoundError(
            f"{folder}: no identity by a name that is known{''.join(halves)}; looked for "
            f"{', '.join(str(one) for one in _FAMILIES)}, NAME.crt with NAME.key",
            hint=f"look what is there: ls -l {shlex.quote(str(folder))}; "
            "files with other names are read with FileSource('client.pem', 'client.key')",
        )
    if len(found) > 1:
        raise AmbiguousIdentityError(
            f"{folder}: {len(found)} identities: {', '.join(str(one) for one in found)}",
            hint="name the files that count: FileSource('client.pem', 'client.key')",
            code="folder_ambiguous",
        )
    return found[0].there(names)


def present(names: Collection[str]) -> list[Family]:
    """Return the known families that are in a folder, also those that hold the same identity."""
    return [one for one in _FAMILIES if _is_there(one, names)]


def _is_there(family: Family, names: Collection[str]) -> bool:
    return family.certificate in names and (family.key is None or family.key in names)


def _pairs(names: Collection[str]) -> list[Family]:
    """Return what `step` and others write; the names are not known before."""
    stems = sorted(name.removesuffix(".crt") for name in names if name.endswith(".crt"))
    return [
        Family(f"{stem}.crt", f"{stem}.key", ("ca.crt", "root_ca.crt"))
        for stem in stems
        if f"{stem}.key" in names and stem not in _AUTHORITIES and stem.isprintable()
    ]
