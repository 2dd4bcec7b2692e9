"""What we demand of the server: roots, pins, revocation, TLS version. Immutable.

Rules of this file: a trust is a value. It is checked when it is made, it never changes
afterwards, and nothing that a library, an environment variable or a request does later can
weaken it. `Trust.dangerously_unverified()` is the one way out, and says so in its `repr`.
"""

from __future__ import annotations

import datetime
import ssl
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict

from mtls_client.errors import ConfigurationError
from mtls_client.pins import ExpiredPins, PinPolicy, PinSpec

if TYPE_CHECKING:
    from typing import Unpack

__all__ = ["Anchors", "Revocation", "Trust", "UnverifiedWarning"]

Revocation: TypeAlias = Literal["none", "leaf", "chain"]

_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class UnverifiedWarning(UserWarning):
    """Servers are not verified: anybody on the network can read and change everything."""


@dataclass(frozen=True, slots=True)
class Anchors:
    """Where trust begins; equal anchors share one certificate store in memory.

    Attributes:
        public: `system` for the operating system's roots, `certifi` for Mozilla's as
            certifi ships them, or None.
        certificates: further roots, or intermediates taken as roots, as PEM.
        of_identity: the roots that the source found beside the identity, too.
    """

    public: Literal["system", "certifi"] | None = None
    certificates: tuple[str, ...] = ()
    of_identity: bool = False


class _Options(TypedDict, total=False):
    pins: Iterable[PinSpec] | Mapping[str, Sequence[PinSpec]]
    report_only: bool
    pins_expire: datetime.datetime | None
    on_pins_expired: ExpiredPins | None
    minimum_version: str | ssl.TLSVersion
    maximum_version: str | ssl.TLSVersion | None
    crls: str | Path | bytes | Sequence[str | Path | bytes]
    revocation: Revocation | None
    allow_legacy_ca: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What a server must prove before it gets one byte of a request.

    Make one with `system`, `certifi`, `from_file` or `from_pem`. All take these keywords:

    Args:
        pins: public-key pins: `sha256/<base64>`, `sha256//<base64>`, hex, `Pin`, or a `Path`
            to a certificate or public key; or a mapping from host pattern to such. A pinned
            host must show one of them in its verified chain, besides all other checks.
        report_only: a pin mismatch emits the event and lets the connection go on.
        pins_expire: when the pins stop being good (an aware datetime).
        on_pins_expired: `fail-closed` or `fail-open`; goes with `pins_expire`.
        minimum_version: `1.2` (the default) or `1.3`.
        maximum_version: a ceiling, for servers with a broken TLS 1.3.
        crls: certificate revocation lists (RFC 5280 §5): paths or bytes, PEM or DER. They are
            read once; a list past its nextUpdate refuses the connection.
        revocation: `leaf` checks the server's certificate against `crls`, `chain` every one;
            `leaf` if there are `crls`, else `none`.
        allow_legacy_ca: accept CAs that break RFC 5280 in form (no keyUsage, no key
            identifiers), as tutorials make them. Clears X509_V_FLAG_X509_STRICT, no more.

    The same rules hold on every Python: names are matched against the subjectAltName only
    (RFC 9525), TLS is 1.2 or newer, and chains obey RFC 5280 strictly.
    """

    anchors: Anchors
    pins: PinPolicy = field(default_factory=PinPolicy)
    minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    maximum_version: ssl.TLSVersion | None = None
    crls: tuple[bytes, ...] = ()
    revocation: Revocation = "none"
    allow_legacy_ca: bool = False
    verified: bool = True

    @classmethod
    def system(cls, **options: Unpack[_Options]) -> Trust:
        """Trust the roots of the operating system, as OpenSSL or Windows finds them.

        OpenSSL's `SSL_CERT_FILE` and `SSL_CERT_DIR` are part of the system; the variables of
        HTTP libraries (`REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE`) are not and are ignored.

        Raises:
            ConfigurationError: an option is malformed or contradictory.
        """
        return _made(Anchors(public="system"), options)

    @classmethod
    def certifi(cls, **options: Unpack[_Options]) -> Trust:
        """Trust Mozilla's roots, as the installed certifi ships them.

        Raises:
            ConfigurationError: an option is malformed or contradictory.
        """
        return _made(Anchors(public="certifi"), options)

    @classmethod
    def from_file(cls, path: str | Path, **options: Unpack[_Options]) -> Trust:
        """Trust the certificates of a file, and no others.

        Args:
            path: one or more certificates, PEM or DER. An intermediate is a root here.

        Raises:
            ConfigurationError: the file cannot be read or holds no certificate, or an option
                is malformed or contradictory.
        """
        return _made(Anchors(certificates=_certificates(_read(path), str(path))), options)

    @classmethod
    def from_pem(cls, data: str | bytes, **options: Unpack[_Options]) -> Trust:
        """Trust the given certificates, and no others.

        Args:
            data: one or more certificates, PEM or DER.

        Raises:
            ConfigurationError: there is no certificate in it, or an option is malformed.
        """
        encoded = data.encode() if isinstance(data, str) else data
        return _made(Anchors(certificates=_certificates(encoded, "the given data")), options)

    @classmethod
    def of_identity(cls, **options: Unpack[_Options]) -> Trust:
        """Trust the roots that the source finds beside the identity, and no others.

        That is what `ca.crt` is for in a Kubernetes secret. Identity and roots change together:
        no handshake sees the new one with the old others. Servers that are not presented the
        identity (other hosts than its own, other origins after a redirect) are not trusted.

        Raises:
            ConfigurationError: an option is malformed or contradictory.
        """
        return _made(Anchors(of_identity=True), options)

    @classmethod
    def dangerously_unverified(cls) -> Trust:
        """Trust every server: anybody on the network can read and change everything.

        The identity is still presented, to whoever answers. Emits an `UnverifiedWarning` now
        and an `UnverifiedConnection` event for every connection.
        """
        warnings.warn(
            "Trust.dangerously_unverified(): no server is verified; "
            "for a private CA write Trust.from_file('ca.pem')",
            UnverifiedWarning,
            stacklevel=2,
        )
        return cls(anchors=Anchors(), verified=False)

    def adding(self, roots: str | Path | bytes) -> Trust:
        """Return a trust with further roots, for instance a private CA beside the system's.

        Args:
            roots: a path, or certificates as PEM or DER bytes.

        Raises:
            ConfigurationError: the file cannot be read or holds no certificate, or this
                trust verifies nothing.
        """
        if not self.verified:
            raise ConfigurationError(
                "roots cannot be added to a trust that verifies nothing",
                hint="begin with Trust.system() or Trust.from_file(path)",
                code="trust_unverified",
            )
        if isinstance(roots, bytes):
            added = _certificates(roots, "the given data")
        elif "-----BEGIN" in str(roots):
            added = _certificates(str(roots).encode(), "the given data")
        else:
            added = _certificates(_read(roots), str(roots))
        anchors = replace(self.anchors, certificates=(*self.anchors.certificates, *added))
        return replace(self, anchors=anchors)

    def across_origins(self) -> Trust:
        """Return what holds for a host that a redirect led to: all but the pins without a host."""
        return replace(self, pins=self.pins.scoped())

    def __repr__(self) -> str:
        if not self.verified:
            return "Trust.dangerously_unverified()"
        parts: list[str] = [self.anchors.public] if self.anchors.public else []
        parts += ["the identity's roots"] if self.anchors.of_identity else []
        for number, noun in (
            (len(self.anchors.certificates), "root"),
            (len(self.pins.pins), "pin"),
        ):
            parts += [f"{number} {noun}{'s' * (number > 1)}"] if number else []
        parts += ["report only"] if self.pins.report_only else []
        parts += [f"revocation {self.revocation}"] if self.revocation != "none" else []
        parts += ["legacy CAs allowed"] if self.allow_legacy_ca else []
        parts += [f"{self.minimum_version.name} or newer"]
        return f"<Trust: {', '.join(parts)}>"


def _made(anchors: Anchors, options: _Options) -> Trust:
    crls = _revocation_lists(options.get("crls", ()))
    revocation = options.get("revocation") or ("leaf" if crls else "none")
    if revocation not in ("none", "leaf", "chain"):
        raise ConfigurationError(
            f"revocation is {revocation!r}", hint="write 'leaf' or 'chain'", code="revocation_mode"
        )
    if (revocation != "none") != bool(crls):
        raise ConfigurationError(
            f"revocation={revocation!r} with {len(crls)} CRLs",
            hint="give the CRLs of the issuers: crls=['issuer.crl']",
            code="revocation_mode",
        )
    minimum = _version(options.get("minimum_version", "1.2"))
    maximum_option = options.get("maximum_version")
    maximum = _version(maximum_option) if maximum_option is not None else None
    if maximum is not None and maximum < minimum:
        raise ConfigurationError(
            "maximum_version is below minimum_version",
            hint="raise maximum_version, or leave it out",
            code="tls_version",
        )
    unknown = options.keys() - _Options.__annotations__.keys()
    if unknown:
        raise TypeError(f"unknown keyword: {', '.join(sorted(unknown))}")
    return Trust(
        anchors=anchors,
        pins=PinPolicy.parse(
            options.get("pins", ()),
            report_only=options.get("report_only", False),
            expires=options.get("pins_expire"),
            on_expiry=options.get("on_pins_expired"),
        ),
        minimum_version=minimum,
        maximum_version=maximum,
        crls=crls,
        revocation=revocation,
        allow_legacy_ca=options.get("allow_legacy_ca", False),
    )


def _version(version: str | ssl.TLSVersion) -> ssl.TLSVersion:
    parsed = _VERSIONS.get(version) if isinstance(version, str) else version
    if parsed is None or parsed not in _VERSIONS.values():
        raise ConfigurationError(
            f"TLS version {version!r} is unknown or no longer safe (RFC 8996)",
            hint="write '1.2' or '1.3'",
            code="tls_version",
        )
    return parsed


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"cannot read {path}: {error.strerror}",
            hint="check the path and who may read it",
            code="trust_file",
        ) from error


def _certificates(data: bytes, where: str) -> tuple[str, ...]:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        if b"-----BEGIN " in data:
            found = x509.load_pem_x509_certificates(data)
        else:
            found = [x509.load_der_x509_certificate(data)]
    except ValueError as error:
        raise ConfigurationError(
            f"no CA certificate in {where}",
            hint="give certificates as PEM (-----BEGIN CERTIFICATE-----) or DER",
            code="trust_format",
        ) from error
    return tuple(certificate.public_bytes(Encoding.PEM).decode() for certificate in found)


def _revocation_lists(
    crls: str | Path | bytes | Sequence[str | Path | bytes],
) -> tuple[bytes, ...]:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    several = [crls] if isinstance(crls, (str, Path, bytes)) else crls
    lists = []
    for crl in several:
        data = crl if isinstance(crl, bytes) else _read(crl)
        load = x509.load_pem_x509_crl if b"-----BEGIN " in data else x509.load_der_x509_crl
        try:
            lists.append(load(data).public_bytes(Encoding.PEM))
        except ValueError as error:
            raise ConfigurationError(
                f"not a CRL: {'the given data' if isinstance(crl, bytes) else crl}",
                hint="give a CRL as PEM (-----BEGIN X509 CRL-----) or DER",
                code="crl_format",
            ) from error
    return tuple(lists)
