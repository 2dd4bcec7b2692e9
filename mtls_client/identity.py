"""Our certificate, its chain and its private key: validated at birth, immutable.

Rules of this file: an identity that exists has a key that belongs to its certificate; nothing
that prints, logs, copies or pickles it sees the key.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_client._formats import fitness, keys, names, pairing, parsing, reading, selection, writing
from mtls_client._formats.contents import Certificate, Contents, Key
from mtls_client._formats.passwords import Secret
from mtls_client._os import files
from mtls_client.errors import ConfigurationError, IdentityFormatError
from mtls_client.pins import Pin

if TYPE_CHECKING:
    from mtls_client._formats.passwords import Password

__all__ = ["Identity", "IdentityWarning", "assembled", "noted", "with_roots"]


class IdentityWarning(UserWarning):
    """Our identity works, but something about it is unsafe."""


class Identity:
    """A certificate with its chain and private key, which belong together.

    Make one with `from_pem`, `from_pkcs12` or `from_key_pair`, or load it with a source. An
    identity is a source itself.

    Args:
        certificate: our own certificate, the leaf.
        key: its private key.
        chain: further certificates, in any order; those that did not issue it are dropped.
        roots: certificates offered beside it as trust anchors.

    Raises:
        KeyMismatchError: the key does not belong to the certificate.
        IdentityFormatError: TLS has no use for such a key, or the certificate is malformed.

    Attributes:
        certificate: our own certificate, the leaf.
        chain: its issuers in order, the leaf left out; a root is kept if it was given.
        private_key: the private key. Never log it.
        roots: certificates of CAs, offered beside it; they are not used unless asked for.
        notes: what was dropped, and why.
    """

    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    private_key: PrivateKeyTypes
    roots: tuple[x509.Certificate, ...]
    notes: tuple[str, ...]
    _key: Key  # not its bytes: not even vars() shows those

    def __init__(
        self,
        certificate: x509.Certificate,
        key: PrivateKeyTypes,
        *,
        chain: Iterable[x509.Certificate] = (),
        roots: Iterable[x509.Certificate] = (),
    ) -> None:
        keys.kind(key)
        try:
            belong, issuers, notes = pairing.examined(certificate, key, tuple(chain))
        except parsing.UNREADABLE as error:
            raise IdentityFormatError(
                "damaged: a certificate with a field or extension that cannot be parsed",
                hint="have it issued again; look at it with: openssl x509 -text",
                code="damaged",
            ) from error
        if not belong:
            raise pairing.mismatch([certificate], [key])
        self.__dict__.update(
            certificate=certificate,
            chain=issuers,
            private_key=key,
            roots=tuple(roots),
            notes=notes,
            _key=Key(key),
        )

    @classmethod
    def from_pem(
        cls, data: bytes | str, *, password: Password = None, select: str | None = None
    ) -> Identity:
        """Read an identity from PEM blocks in any order, or any other format, told by content.

        Args:
            data: a certificate, its private key and, if there is one, its chain.
            password: opens an encrypted key: a str, bytes, a `Path` to a file that holds it, or
                a function that returns it, called only if needed.
            select: which identity, if there are several: a label, a SHA-256 fingerprint, a
                subject or common name, or `for_mtls`.

        Raises:
            IdentityError: see its subclasses and their `code`.
        """
        encoded = data.encode("utf-8", "replace") if isinstance(data, str) else data
        return assembled(reading.read(encoded, Secret(password)), select)

    @classmethod
    def from_pkcs12(
        cls, data: bytes, *, password: Password = None, select: str | None = None
    ) -> Identity:
        """Read an identity from a PKCS#12 file (RFC 7292), usually named `.p12` or `.pfx`.

        The arguments and errors are those of `from_pem`.
        """
        return cls.from_pem(data, password=password, select=select)

    @classmethod
    def from_key_pair(
        cls,
        certificate: x509.Certificate | bytes,
        key: PrivateKeyTypes | bytes,
        *,
        chain: Iterable[x509.Certificate | bytes] = (),
        password: Password = None,
    ) -> Identity:
        """Join a certificate and its key.

        Args:
            certificate: a certificate object, or PEM or DER; the chain may follow in the PEM.
            key: a private-key object, or PEM or DER.
            chain: further certificates, in any order.
            password: opens an encrypted key, see `from_pem`.

        Raises:
            IdentityError: see its subclasses and their `code`.
        """
        secret = Secret(password)
        found = reading.read(key, secret).keys if isinstance(key, bytes) else (Key(key),)
        contents = Contents(reading.certificates(certificate, secret), found)
        further = [one for given in chain for one in reading.certificates(given, secret)]
        return assembled(contents, None, further)

    @functools.cached_property
    def subject(self) -> str:
        """The subject, as RFC 4514 writes it."""
        return names.text(self.certificate.subject)

    @functools.cached_property
    def issuer(self) -> str:
        """The issuer, as RFC 4514 writes it."""
        return names.text(self.certificate.issuer)

    @functools.cached_property
    def serial(self) -> str:
        """The serial number in hex."""
        return parsing.serial(self.certificate)

    @functools.cached_property
    def not_before(self) -> datetime.datetime:
        """The begin of the validity, in UTC."""
        return self.certificate.not_valid_before_utc

    @functools.cached_property
    def not_after(self) -> datetime.datetime:
        """The end of the validity, in UTC."""
        return self.certificate.not_valid_after_utc

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate in hex, lower-case, 64 digits."""
        return self.certificate.fingerprint(SHA256()).hex()

    @functools.cached_property
    def pin(self) -> str:
        """The pin of the public key: `sha256/<base64>` (RFC 7469 §2.4)."""
        return str(Pin.of(self.certificate.public_bytes(Encoding.DER)))

    @functools.cached_property
    def san_dns(self) -> tuple[str, ...]:
        """The DNS names of the subjectAltName."""
        return names.alternative(self.certificate, x509.DNSName)

    @functools.cached_property
    def san_uri(self) -> tuple[str, ...]:
        """The URIs of the subjectAltName, where SPIFFE puts its ID."""
        return names.alternative(self.certificate, x509.UniformResourceIdentifier)

    @property
    def key_type(self) -> str:
        """`RSA`, `EC`, `Ed25519` or `Ed448`."""
        return keys.kind(self.private_key)

    @property
    def key_bits(self) -> int:
        """The size of the key in bits."""
        return keys.bits(self.private_key)

    @functools.cached_property
    def usable_for_client_auth(self) -> bool:
        """Whether the usage extensions allow it (RFC 5280 §4.2.1.3 and §4.2.1.12)."""
        return fitness.for_client_auth(self.certificate)

    def expires_in(self, now: datetime.datetime | None = None) -> datetime.timedelta:
        """Return how long the certificate is still valid; negative once it has expired."""
        return self.not_after - (now or datetime.datetime.now(datetime.UTC))

    def require_usable(self, now: datetime.datetime | None = None) -> None:
        """Raise the first reason why a server will refuse this identity.

        Args:
            now: the time to judge by; the clock's if None.

        Raises:
            IdentityExpiredError: it has expired.
            IdentityNotYetValidError: it is not valid yet.
            IdentityPurposeError: it is not meant for client authentication.
            WeakIdentityError: its key or signature is too weak.
        """
        fitness.require(self, now or datetime.datetime.now(datetime.UTC))

    def load(self) -> Identity:
        """Return the identity itself: a value can stand wherever a source can."""
        return self

    def certificate_pem(self) -> bytes:
        """Return what a server is shown: the certificate and its chain, without a root."""
        return self._presented

    def private_key_pem(self) -> bytes:
        """Return the private key as PEM, **not encrypted**. Keep it in memory."""
        return self._key.pem or writing.encoded_key(self.private_key, None)

    def save_pem(self, path: str | Path, *, password: str | bytes | None) -> None:
        """Write key, certificate and chain to a file that only its owner may read.

        Args:
            path: the file; it is replaced as a whole.
            password: encrypts the key; None writes it as it is.

        Raises:
            ConfigurationError: the password is empty or too long.
            OSError: the file cannot be written; an old one is still there.
        """
        files.replace(Path(path), writing.as_pem(self, password))

    def save_pkcs12(
        self, path: str | Path, *, password: str | bytes | None, label: str | None = None
    ) -> None:
        """Write a PKCS#12 file that only its owner may read.

        Args:
            path: the file; it is replaced as a whole.
            password: encrypts the file; None writes it as it is.
            label: the friendly name.

        Raises:
            ConfigurationError: the password is empty or too long.
            OSError: the file cannot be written; an old one is still there.
        """
        files.replace(Path(path), writing.as_pkcs12(self, password, label))

    def __repr__(self) -> str:
        return (
            f"<Identity: {self.subject}, serial {self.serial}, "
            f"until {self.not_after:%Y-%m-%d %H:%M} UTC, sha256 {self.fingerprint}>"
        )

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"an identity cannot be changed: {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"an identity cannot be changed: {name}")

    def __copy__(self) -> Identity:
        return self

    def __deepcopy__(self, _memo: dict[int, object]) -> Identity:
        return self

    def __reduce__(self) -> NoReturn:
        raise ConfigurationError(
            "an identity holds a private key and cannot be pickled",
            hint="load it in each process, or write it with save_pkcs12(path, password=…)",
            code="pickle",
        )

    @functools.cached_property
    def _presented(self) -> bytes:
        # servers have their roots already (RFC 8446 §4.4.2)
        issuers = [one for one in self.chain if one.subject != one.issuer]
        return writing.certificates_as_pem((self.certificate, *issuers))


def assembled(
    contents: Contents,
    select: str | None,
    further: Iterable[Certificate] = (),
    *,
    roots: Iterable[x509.Certificate] = (),
) -> Identity:
    """Make an identity of what was read.

    Args:
        contents: certificates and keys, of which one pair is ours.
        select: which, see `Identity.from_pem`.
        further: certificates that can be issuers only.
        roots: certificates that lay beside it as trust anchors.

    Raises:
        IdentityError: see its subclasses and their `code`.
    """
    pair = selection.selected(contents, select)
    others = [one.value for one in (*contents.certificates, *further)]
    identity = Identity(pair.certificate.value, pair.key.value, chain=others, roots=roots)
    identity.__dict__["_key"] = pair.key  # with its PEM, which saves writing it again
    return identity


def noted(identity: Identity, notes: Iterable[str]) -> Identity:
    """Return the identity with further notes."""
    return _with(identity, notes=(*identity.notes, *notes))


def with_roots(identity: Identity, roots: tuple[x509.Certificate, ...]) -> Identity:
    """Return the identity with other certificates offered beside it."""
    return _with(identity, roots=roots)


def _with(identity: Identity, **changes: object) -> Identity:
    copy = Identity.__new__(Identity)
    copy.__dict__.update(identity.__dict__, **changes)
    return copy
