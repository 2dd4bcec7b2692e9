"""A key and a certificate signing request (PKCS#10, RFC 2986), and joining the issuer's answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NoReturn, TypeAlias, get_args

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_client._formats import keys, names, reading
from mtls_client._formats.contents import Certificate, Contents, Key
from mtls_client._formats.passwords import Secret
from mtls_client.errors import (
    ConfigurationError,
    IdentityError,
    IdentityNotFoundError,
    RenewalError,
)
from mtls_client.identity import Identity, assembled

__all__ = ["KeyKind", "Request", "fresh_key", "issued", "kept"]

KeyKind: TypeAlias = Literal[
    "ec", "ec384", "ec521", "ed25519", "ed448", "rsa", "rsa3072", "rsa4096"
]

_COPIED = (x509.SubjectAlternativeName, x509.ExtendedKeyUsage)
"""What the new certificate is asked to have as the old one has it."""


class Request:
    """A private key and the CSR that it has signed; nothing is written anywhere.

    Args:
        key: the private key.
        subject: the subject that is asked for.
        extensions: `(extension, critical)` pairs that are asked for.
        digest: the hash of the request's signature; SHA-256 if None.

    Raises:
        IdentityFormatError: TLS has no use for such a key.

    Attributes:
        key: the private key. Never log it.
        csr: the request.

    Example:
        >>> Request.renewing(identity).pem  # doctest: +SKIP
    """

    __slots__ = ("csr", "key")

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
        hashed: Any = None if keys.kind(key) in _WITHOUT_DIGEST else digest or hashes.SHA256()
        signer: Any = key
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

        Raises:
            ConfigurationError: there is no such kind, or the key is to be kept and replaced.
        """
        if reuse_key and key is not None:
            raise ConfigurationError(
                "reuse_key and key contradict each other", hint="give one of them", code="key_kind"
            )
        wanted = {one.oid: (one, critical) for one, critical in kept(current.certificate)}
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
        try:
            return assembled(Contents(issued(answer), (Key(self.key),)), None)
        except IdentityError as error:
            raise RenewalError(
                f"the issuer's answer is of no use: {error.args[0]}",
                hint="look at what the issuer has issued; the present identity stays",
                code="renewal_answer",
            ) from error

    def __repr__(self) -> str:
        return f"<Request: {names.text(self.csr.subject)}>"

    def __reduce__(self) -> NoReturn:
        raise ConfigurationError(
            "a request holds a private key and cannot be pickled",
            hint="send request.pem, and keep the request until the answer has come",
            code="pickle",
        )


_WITHOUT_DIGEST = ("Ed25519", "Ed448")


def kept(certificate: x509.Certificate) -> list[tuple[x509.ExtensionType, bool]]:
    """Return the extensions that a certificate's successor is asked to have, too."""
    return [
        (one.value, one.critical)
        for one in certificate.extensions
        if isinstance(one.value, _COPIED)
    ]


def issued(answer: Iterable[bytes | x509.Certificate]) -> tuple[Certificate, ...]:
    """Return the certificates of an issuer's answer.

    Args:
        answer: see `Request.joined`.

    Raises:
        IdentityError: there is none; see `code`.
    """
    found, secret = Contents(), Secret(None)
    for part in answer:
        found += (
            reading.read(part, secret)
            if isinstance(part, bytes)
            else Contents((Certificate(part),))
        )
    if not found.certificates:
        holds = f", but a {found.others[0]}" if found.others else ""
        raise IdentityNotFoundError(
            f"no certificate{holds}",
            hint="wait for what the issuer makes of the request; look at it with: mtls show FILE",
            code="no_certificate",
        )
    return found.certificates


def fresh_key(like: KeyKind | PrivateKeyTypes | PublicKeyTypes) -> PrivateKeyTypes:
    """Make a private key of a kind, or of the kind of another key.

    Args:
        like: the kind: `ec` (P-256), `ec384`, `ec521`, `ed25519`, `ed448`, `rsa` (2048 bits),
            `rsa3072`, `rsa4096`; or a key, private or public. An RSA key shorter than 2048 bits is
            followed by one of 2048.

    Raises:
        ConfigurationError: there is no such kind.
    """
    match like:
        case "ec" | "ec384" | "ec521":
            return ec.generate_private_key(_CURVES[str(like)])
        case "ed25519" | ed25519.Ed25519PrivateKey() | ed25519.Ed25519PublicKey():
            return ed25519.Ed25519PrivateKey.generate()
        case "ed448" | ed448.Ed448PrivateKey() | ed448.Ed448PublicKey():
            return ed448.Ed448PrivateKey.generate()
        case ec.EllipticCurvePrivateKey() | ec.EllipticCurvePublicKey():
            return ec.generate_private_key(like.curve)
        case rsa.RSAPrivateKey() | rsa.RSAPublicKey():
            return rsa.generate_private_key(65537, max(like.key_size, 2048))
        case "rsa" | "rsa3072" | "rsa4096":
            return rsa.generate_private_key(65537, int(str(like)[3:] or 2048))
    raise ConfigurationError(
        f"not a kind of key: {like if isinstance(like, str) else type(like).__name__}",
        hint=f"write one of {', '.join(get_args(KeyKind))}",
        code="key_kind",
    )


_CURVES = {"ec": ec.SECP256R1(), "ec384": ec.SECP384R1(), "ec521": ec.SECP521R1()}
