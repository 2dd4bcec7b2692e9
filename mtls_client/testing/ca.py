"""A certificate authority that lives in memory and is forgotten with the process.

Its certificates obey RFC 5280 to the letter; each keyword of `CA.issue` makes exactly one thing
wrong or different.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable
from typing import Literal, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mtls_client.identity import Identity

__all__ = ["CA", "KeyKind"]

KeyKind: TypeAlias = Literal["ec", "rsa", "ed25519"]
_SigningKey: TypeAlias = (
    "ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey"
)

_DAY = datetime.timedelta(days=1)
_HOUR = datetime.timedelta(hours=1)


class CA:
    """A certificate authority for tests.

    Args:
        name: its common name.
        key: the kind of its key.

    Attributes:
        certificate: its certificate.
    """

    def __init__(self, name: str = "Test CA", *, key: KeyKind = "ec") -> None:
        self._issuer: CA | None = None
        self._key = _new_key(key, 2048)
        self.certificate = self._signed(name, self._key, self._key, None)

    @property
    def pem(self) -> bytes:
        """Its certificate as PEM."""
        return self.certificate.public_bytes(Encoding.PEM)

    def intermediate(self, name: str = "Test Intermediate CA", *, key: KeyKind = "ec") -> CA:
        """Return a CA whose certificate this one has signed; what it issues carries the chain."""
        child = CA.__new__(CA)
        child._issuer, child._key = self, _new_key(key, 2048)
        child.certificate = self._signed(name, child._key, self._key, self.certificate)
        return child

    def issue(
        self,
        common_name: str = "client",
        *,
        dns: Iterable[str] = (),
        ips: Iterable[str] = (),
        uris: Iterable[str] = (),
        client: bool = True,
        server: bool = False,
        key: KeyKind | _SigningKey = "ec",
        key_bits: int = 2048,
        key_usage: bool = True,
        extended_key_usage: bool = True,
        not_before: datetime.datetime | None = None,
        not_after: datetime.datetime | None = None,
        algorithm: hashes.HashAlgorithm | None = None,
    ) -> Identity:
        """Issue a certificate and return it with its key and chain.

        Args:
            common_name: the subject's common name.
            dns: DNS names of the subjectAltName.
            ips: IP addresses of the subjectAltName.
            uris: URIs of the subjectAltName.
            client: allow client authentication.
            server: allow server authentication. With neither there is no extended key usage,
                which allows both.
            key: the kind of a new key, or a key to certify again.
            key_bits: the size of a new RSA key.
            key_usage: have the extension, with digitalSignature.
            extended_key_usage: have the extension, with what `client` and `server` say.
            not_before: the begin of its validity (aware); if None an hour ago, or a day before
                `not_after` if that is earlier.
            not_after: the end of its validity (aware); a day after `not_before` if None.
            algorithm: the hash of the signature; SHA-256 if None.
        """
        private = _new_key(key, key_bits) if isinstance(key, str) else key
        extensions: list[x509.ExtensionType] = []
        purposes = [ExtendedKeyUsageOID.CLIENT_AUTH] * client
        purposes += [ExtendedKeyUsageOID.SERVER_AUTH] * server
        if extended_key_usage and purposes:
            extensions.append(x509.ExtendedKeyUsage(purposes))
        names: list[x509.GeneralName] = [x509.DNSName(one) for one in dns]
        names += [x509.IPAddress(ipaddress.ip_address(one)) for one in ips]
        names += [x509.UniformResourceIdentifier(one) for one in uris]
        if names:
            extensions.append(x509.SubjectAlternativeName(names))
        certificate = self._leaf(
            _name(common_name),
            private.public_key(),
            extensions,
            key_usage=key_usage,
            validity=(not_before, not_after),
            algorithm=algorithm,
        )
        return Identity(certificate, private, chain=self._chain())

    def sign(
        self,
        request: bytes,
        *,
        not_before: datetime.datetime | None = None,
        not_after: datetime.datetime | None = None,
    ) -> bytes:
        """Issue what a certificate signing request asks for: subject, names and purposes.

        Args:
            request: the CSR as PEM.
            not_before: the begin of its validity, see `issue`.
            not_after: the end of its validity, see `issue`.

        Returns:
            The certificate and its chain as PEM.

        Raises:
            ValueError: it is no CSR, or its signature is wrong.
        """
        asked = x509.load_pem_x509_csr(request)
        if not asked.is_signature_valid:
            raise ValueError("the signature of the request is wrong")
        kinds = (x509.SubjectAlternativeName, x509.ExtendedKeyUsage)
        certificate = self._leaf(
            asked.subject,
            asked.public_key(),
            [one.value for one in asked.extensions if isinstance(one.value, kinds)],
            validity=(not_before, not_after),
        )
        return b"".join(one.public_bytes(Encoding.PEM) for one in (certificate, *self._chain()))

    def crl(
        self,
        revoked: Iterable[Identity | x509.Certificate] = (),
        *,
        last_update: datetime.datetime | None = None,
        next_update: datetime.datetime | None = None,
    ) -> bytes:
        """Return a certificate revocation list as PEM (RFC 5280 §5).

        Args:
            revoked: the certificates on it, or identities with them.
            last_update: its date; an hour ago if None.
            next_update: when it expires; a day later if None.
        """
        issued = last_update or _now() - _HOUR
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(issued)
            .next_update(next_update or issued + _DAY)
            .add_extension(x509.CRLNumber(1), critical=False)
            .add_extension(self._authority_key_identifier(), critical=False)
        )
        for one in revoked:
            certificate = one if isinstance(one, x509.Certificate) else one.certificate
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(certificate.serial_number)
                .revocation_date(issued)
                .build()
            )
        return builder.sign(self._key, self._algorithm(None)).public_bytes(Encoding.PEM)  # type: ignore[arg-type]

    def _leaf(
        self,
        subject: x509.Name,
        public: CertificatePublicKeyTypes,
        extensions: Iterable[x509.ExtensionType],
        *,
        validity: tuple[datetime.datetime | None, datetime.datetime | None],
        key_usage: bool = True,
        algorithm: hashes.HashAlgorithm | None = None,
    ) -> x509.Certificate:
        not_before, not_after = validity
        begin = not_before or _now() - _HOUR
        if not_after is not None and not_before is None:
            begin = min(begin, not_after - _DAY)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.certificate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(not_after or begin + _DAY)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(self._authority_key_identifier(), critical=False)
        )
        if key_usage:
            builder = builder.add_extension(_key_usage(digital_signature=True), critical=True)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self._key, self._algorithm(algorithm))  # type: ignore[arg-type]

    def _chain(self) -> tuple[x509.Certificate, ...]:
        return (self.certificate, *self._issuer._chain()) if self._issuer else (self.certificate,)

    def _algorithm(self, wanted: hashes.HashAlgorithm | None) -> hashes.HashAlgorithm | None:
        return (
            None if isinstance(self._key, ed25519.Ed25519PrivateKey) else wanted or hashes.SHA256()
        )

    def _authority_key_identifier(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())

    def _signed(
        self,
        name: str,
        key: _SigningKey,
        by: _SigningKey,
        issuer: x509.Certificate | None,
    ) -> x509.Certificate:
        now = _now()
        return (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(issuer.subject if issuer else _name(name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + 365 * _DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(digital_signature=False), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), False
            )
            .sign(by, None if isinstance(by, ed25519.Ed25519PrivateKey) else hashes.SHA256())
        )


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _new_key(kind: KeyKind, bits: int) -> _SigningKey:
    if kind == "rsa":
        return rsa.generate_private_key(65537, bits)
    return (
        ed25519.Ed25519PrivateKey.generate()
        if kind == "ed25519"
        else ec.generate_private_key(ec.SECP256R1())
    )


def _key_usage(*, digital_signature: bool) -> x509.KeyUsage:
    """Return the usage of a leaf, or of a CA."""
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=not digital_signature,
        crl_sign=not digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
