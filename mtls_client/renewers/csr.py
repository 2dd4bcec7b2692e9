"""A key and a certificate signing request (PKCS#10, RFC 2986), and joining the issuer's answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_client._formats import reading
from mtls_client._formats.contents import Contents, Key
from mtls_client._formats.passwords import Secret
from mtls_client.errors import IdentityError, RenewalError
from mtls_client.identity import Identity, assembled

__all__ = ["KeyKind", "Request", "fresh_key"]

KeyKind: TypeAlias = Literal["ec", "ec384", "ed25519", "rsa", "rsa3072", "rsa4096"]

_COPIED = (x509.SubjectAlternativeName, x509.ExtendedKeyUsage)
"""What the new certificate is asked to have as the old one has it."""


class Request:
    """A private key and the CSR that it has signed; nothing is written anywhere.

    Args:
        key: the private key.
        subject: the subject that is asked for.
        extensions: `(extension, critical)` pairs that are asked for.
        digest: the hash of the request's signature; SHA-256 if None.

    Attributes:
        key: the private key. Never log it.
        csr: the request.
    """

    def __init__(
        self,
        key: PrivateKeyTypes,
        subject: x509.Name,
        extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
        *,
        digest: hashes.HashAlgorithm | None = None,
    ) -> None:
        builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        signer: Any = key
        hashed: Any = None if isinstance(key, _WITHOUT_DIGEST) else digest or hashes.SHA256()
        self.key = key
        self.csr = builder.sign(signer, hashed)

    @classmethod
    def renewing(
        cls,
        current: Identity,
        *,
        reuse_key: bool = False,
        key: KeyKind | None = None,
        extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
        digest: hashes.HashAlgorithm | None = None,
    ) -> Request:
        """Make a request for a certificate with the same subject, names and usages.

        Args:
            current: the identity to replace.
            reuse_key: keep the private key instead of making one of the same kind.
            key: the kind of the new key, if it is to be another one.
            extensions: `(extension, critical)` pairs to ask for besides, or instead of the
                present certificate's.
            digest: the hash of the request's signature; SHA-256 if None.
        """
        wanted: dict[x509.ObjectIdentifier, tuple[x509.ExtensionType, bool]] = {
            one.oid: (one.value, one.critical)
            for one in current.certificate.extensions
            if isinstance(one.value, _COPIED)
        }
        wanted |= {one.oid: (one, critical) for one, critical in extensions}
        made = current.private_key if reuse_key else fresh_key(key or current.private_key)
        return cls(made, current.certificate.subject, wanted.values(), digest=digest)

    @property
    def pem(self) -> bytes:
        """The CSR as PEM."""
        return self.csr.public_bytes(Encoding.PEM)

    @property
    def der(self) -> bytes:
        """The CSR as DER."""
        return self.csr.public_bytes(Encoding.DER)

    def joined(self, *answer: bytes | x509.Certificate) -> Identity:
        """Join the issuer's answer to the key.

        Args:
            answer: the certificate and its chain in any order: objects, PEM, DER or PKCS#7.

        Raises:
            RenewalError: it holds no certificate for this key.
        """
        secret = Secret(None)
        try:
            found = [one for part in answer for one in reading.certificates(part, secret)]
            return assembled(Contents(tuple(found), (Key(self.key),)), None)
        except IdentityError as error:
            raise RenewalError(
                f"the issuer's answer is of no use: {error.args[0]}",
                hint="look at what the issuer has issued; the present identity stays",
                code="renewal_answer",
            ) from error

    def __repr__(self) -> str:
        return f"<Request: {self.csr.subject.rfc4514_string()}>"


_WITHOUT_DIGEST = (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)


def fresh_key(like: KeyKind | PrivateKeyTypes) -> PrivateKeyTypes:
    """Make a private key of a kind, or of the kind of another key.

    Args:
        like: the kind: `ec` (P-256), `ec384`, `ed25519`, `rsa` (2048 bits), `rsa3072`,
            `rsa4096`; or a key. One shorter than 2048 bits is followed by one of 2048.
    """
    match like:
        case "ec":
            return ec.generate_private_key(ec.SECP256R1())
        case "ec384":
            return ec.generate_private_key(ec.SECP384R1())
        case "ed25519" | ed25519.Ed25519PrivateKey():
            return ed25519.Ed25519PrivateKey.generate()
        case ed448.Ed448PrivateKey():
            return ed448.Ed448PrivateKey.generate()
        case ec.EllipticCurvePrivateKey():
            return ec.generate_private_key(like.curve)
        case rsa.RSAPrivateKey():
            return rsa.generate_private_key(65537, max(like.key_size, 2048))
        case "rsa" | "rsa3072" | "rsa4096":
            return rsa.generate_private_key(65537, int(like[3:] or 2048))
        case _:
            raise ValueError(f"not a kind of key: {like!r}")
