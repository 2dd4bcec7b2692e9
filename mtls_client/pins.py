"""Public-key pins: their grammar and how they match (pure: no I/O, no clock).

A pin is the SHA-256 of a certificate's SubjectPublicKeyInfo (RFC 7469 §2.4). Pins come *in
addition* to the checks of chain, dates, name and revocation. One pin must match one
certificate of the *verified* chain: the certificates that a server sends beside it prove
nothing, because anybody can send a public certificate along.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from mtls_client._formats.der import spki
from mtls_client.errors import ConfigurationError
from mtls_client.hosts import HostPattern

__all__ = ["ExpiredPins", "Pin", "PinPolicy", "PinSpec"]

PinSpec: TypeAlias = "str | Path | Pin"
ExpiredPins: TypeAlias = Literal["fail-closed", "fail-open"]

_BASE64 = re.compile(r"sha256//?([A-Za-z0-9+/]{43}=?)")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2}:?){31}[0-9a-fA-F]{2}")


@dataclass(frozen=True, slots=True)
class Pin:
    """The hash of one public key, for all hosts or for those of a pattern.

    Attributes:
        digest: SHA-256 of the SubjectPublicKeyInfo, 32 bytes.
        host: the hosts that the pin speaks about, or None for every host.
    """

    digest: bytes
    host: HostPattern | None = None

    @classmethod
    def parse(cls, text: str, *, host: str | None = None) -> Pin:
        """Read a pin as OkHttp (`sha256/…`), curl (`sha256//…`) or people (hex) write it.

        Args:
            text: the pin.
            host: a host pattern, see `mtls_client.hosts`.

        Raises:
            ConfigurationError: it is malformed; there is no pin that matches nothing.
        """
        stripped = text.strip()
        pattern = HostPattern.parse(host) if host is not None else None
        if match := _BASE64.fullmatch(stripped):
            encoded = match[1].rstrip("=") + "="
            digest = base64.b64decode(encoded)
            # the last character of 32 bytes carries two bits that must be zero: another
            # one there is a typing error that a lax decoder would swallow
            if base64.b64encode(digest).decode() == encoded:
                return cls(digest, pattern)
        elif _HEX.fullmatch(stripped):
            return cls(binascii.unhexlify(stripped.replace(":", "")), pattern)
        raise ConfigurationError(
            f"not a pin: {_quoted(stripped)}",
            hint="a pin is sha256/ and the base64 of 32 bytes (44 characters), or 64 hex digits; "
            "print a server's with: mtls pins HOST",
            code="pin_malformed",
        )

    @classmethod
    def from_certificate(cls, data: bytes, *, host: str | None = None) -> Pin:
        """Pin the key of a certificate.

        Args:
            data: one certificate, or one public key, as PEM or DER.
            host: a host pattern, see `mtls_client.hosts`.

        Raises:
            ConfigurationError: the data is neither.
        """
        pattern = HostPattern.parse(host) if host is not None else None
        return cls(hashlib.sha256(_public_key(data)).digest(), pattern)

    @classmethod
    def from_file(cls, path: str | Path, *, host: str | None = None) -> Pin:
        """Pin the key of a certificate or public-key file, PEM or DER.

        Raises:
            ConfigurationError: the file cannot be read, or holds neither.
        """
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise ConfigurationError(
                f"cannot read the pinned certificate {path}: {error.strerror}", code="pin_file"
            ) from error
        return cls.from_certificate(data, host=host)

    @staticmethod
    def of(certificate: bytes) -> Pin:
        """Return the pin of a DER certificate's key.

        Raises:
            ValueError: the bytes are not a certificate.
        """
        return Pin(hashlib.sha256(spki(certificate)).digest())

    def __str__(self) -> str:
        return f"sha256/{base64.b64encode(self.digest).decode()}"

    def __repr__(self) -> str:
        host = f", host={self.host.text!r}" if self.host else ""
        return f"Pin.parse({str(self)!r}{host})"


@dataclass(frozen=True, slots=True, kw_only=True)
class PinPolicy:
    """The pins of a trust, and what happens when none matches.

    Attributes:
        pins: all pins, each for its hosts.
        report_only: emit the event and let the connection go on.
        expires: when the pins stop being good, in UTC, or None.
        on_expiry: `fail-closed` refuses every connection to a pinned host from then on,
            `fail-open` stops checking.
    """

    pins: tuple[Pin, ...] = ()
    report_only: bool = False
    expires: datetime.datetime | None = None
    on_expiry: ExpiredPins | None = None

    def __post_init__(self) -> None:
        if (self.expires is None) != (self.on_expiry is None):
            raise ConfigurationError(
                "pins_expire and on_pins_expired go together",
                hint="say what happens then: on_pins_expired='fail-closed' or 'fail-open'",
                code="pins_expiry",
            )
        if self.on_expiry not in (None, "fail-closed", "fail-open"):
            raise ConfigurationError(
                f"on_pins_expired is {self.on_expiry!r}",
                hint="write 'fail-closed' or 'fail-open'",
                code="pins_expiry",
            )
        if self.expires is not None and self.expires.tzinfo is None:
            raise ConfigurationError(
                "pins_expire has no time zone",
                hint="write datetime(…, tzinfo=datetime.UTC)",
                code="pins_expiry",
            )

    @classmethod
    def parse(
        cls,
        pins: Iterable[PinSpec] | Mapping[str, Sequence[PinSpec]],
        *,
        report_only: bool = False,
        expires: datetime.datetime | None = None,
        on_expiry: ExpiredPins | None = None,
    ) -> PinPolicy:
        """Read pins as a caller writes them: several, or a mapping from host pattern to several.

        Raises:
            ConfigurationError: a pin or pattern is malformed.
        """
        if isinstance(pins, (str, bytes, Path, Pin)):
            raise ConfigurationError(
                "pins is a single pin", hint="write a list: pins=[…]", code="pins_type"
            )
        pairs: list[tuple[str | None, PinSpec]]
        if isinstance(pins, Mapping):
            pairs = [(host, pin) for host, several in pins.items() for pin in _listed(several)]
        else:
            pairs = [(None, pin) for pin in pins]
        return cls(
            pins=tuple(_pin(pin, host) for host, pin in pairs),
            report_only=report_only,
            expires=expires,
            on_expiry=on_expiry,
        )

    def applying_to(self, host: str) -> tuple[Pin, ...]:
        """Return the pins that speak about a `normalised` host; none means: not pinned."""
        return tuple(pin for pin in self.pins if pin.host is None or pin.host.matches(host))

    def scoped(self) -> PinPolicy:
        """Return the policy without the pins that name no host."""
        return PinPolicy(
            pins=tuple(pin for pin in self.pins if pin.host is not None),
            report_only=self.report_only,
            expires=self.expires,
            on_expiry=self.on_expiry,
        )

    def expired(self, now: datetime.datetime) -> bool:
        """Tell whether the pins have passed their date."""
        return self.expires is not None and now >= self.expires


def match(pins: Iterable[Pin], chain: Iterable[bytes]) -> bool:
    """Tell whether a certificate of a verified chain (DER) has one of the pinned keys.

    Raises:
        ValueError: a certificate is not one.
    """
    digests = [pin.digest for pin in pins]
    return any(hashlib.sha256(spki(certificate)).digest() in digests for certificate in chain)


def _listed(several: Sequence[PinSpec]) -> Sequence[PinSpec]:
    return [several] if isinstance(several, (str, Path, Pin)) else several


def _pin(spec: PinSpec, host: str | None) -> Pin:
    if isinstance(spec, str):
        return Pin.parse(spec, host=host)
    if isinstance(spec, Path):
        return Pin.from_file(spec, host=host)
    if isinstance(spec, Pin):
        return Pin(spec.digest, HostPattern.parse(host)) if host is not None else spec
    raise ConfigurationError(
        f"a pin is a str, a Path to a certificate or a Pin, not {type(spec).__name__}",
        code="pins_type",
    )


def _public_key(data: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo of a certificate or public key, PEM or DER."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    form = serialization.PublicFormat.SubjectPublicKeyInfo
    pem = b"-----BEGIN " in data
    certificates = x509.load_pem_x509_certificate if pem else x509.load_der_x509_certificate
    keys = serialization.load_pem_public_key if pem else serialization.load_der_public_key
    try:
        certificate = certificates(data)
    except ValueError:
        try:
            return keys(data).public_bytes(serialization.Encoding.DER, form)
        except Exception as error:
            raise ConfigurationError(
                "the pinned file holds neither a certificate nor a public key",
                hint="give a certificate or public key as PEM or DER",
                code="pin_file",
            ) from error
    return spki(certificate.public_bytes(serialization.Encoding.DER))


def _quoted(text: str) -> str:
    # a key pasted here by mistake must not come back in the message
    return repr(text) if len(text) <= 60 and "\n" not in text else f"{len(text)} characters"
