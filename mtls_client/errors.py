"""Every error this library raises, typed by blame: you, ours, theirs.

```
MTLSError                                       .hint  .retryable  .code
├ ConfigurationError (ValueError)               you
│   └ MissingExtraError (ImportError)
├ IdentityError                                 our identity
│   ├ IdentityNotFoundError                     no file, no certificate, no key
│   ├ IdentityFormatError                       not a certificate, truncated, JKS, …
│   ├ PasswordError                             wrong, or needed
│   ├ KeyMismatchError                          the key is not the certificate's
│   ├ AmbiguousIdentityError                    several, and none was selected
│   ├ KeyringError                              locked, missing, unsafe, too slow
│   ├ IdentityExpiredError
│   ├ IdentityNotYetValidError
│   ├ IdentityPurposeError                      not meant for client authentication
│   └ WeakIdentityError                         RSA under 2048 bits, SHA-1 signature
├ TrustError (ssl.SSLCertVerificationError)     theirs, refused by us
│   ├ UntrustedServerError
│   ├ HostnameMismatchError
│   ├ ServerCertificateExpiredError
│   ├ PinMismatchError
│   ├ RevokedError
│   └ RevocationUnknownError
├ IdentityRejectedError (ssl.SSLError)          ours, refused by them
└ RenewalError                                  no new identity; .retry_after
    ├ RenewalRefusedError                       the issuer says no, and will again
    └ LockTimeoutError (TimeoutError)           another process is at it
```

Rules of this file:

* a message is lower-case and has no period at its end: what, then where;
* `hint` is the next thing to do, a command where one exists;
* `code` is stable and made for machines; messages may change;
* no message, hint or attribute ever holds a key, a password or the contents of a file;
* every error survives pickling.

A session raises these as instances of its HTTP client's own exception too, so that
`except requests.exceptions.SSLError` and `except httpx.ConnectError` go on working.
"""

from __future__ import annotations

import enum
import ssl
from typing import Any

__all__ = [
    "AmbiguousIdentityError",
    "ConfigurationError",
    "HostnameMismatchError",
    "IdentityError",
    "IdentityExpiredError",
    "IdentityFormatError",
    "IdentityNotFoundError",
    "IdentityNotYetValidError",
    "IdentityPurposeError",
    "IdentityRejectedError",
    "KeyMismatchError",
    "KeyringError",
    "LockTimeoutError",
    "MTLSError",
    "MissingExtraError",
    "PasswordError",
    "PinMismatchError",
    "RejectionReason",
    "RenewalError",
    "RenewalRefusedError",
    "RevocationUnknownError",
    "RevokedError",
    "ServerCertificateExpiredError",
    "TrustError",
    "UntrustedServerError",
    "WeakIdentityError",
]


class MTLSError(Exception):
    """The base of every error this library raises.

    Attributes:
        hint: the next thing to do, or None.
        code: a stable name of the failure, for machines.
        retryable: whether the same call may succeed later without anybody's help.
    """

    code: str = "mtls_error"
    retryable: bool = False
    hint: str | None = None

    def __init__(self, message: str, *, hint: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        if code is not None:
            self.code = code
        if isinstance(self, OSError):
            # async libraries look for a text here, and fail with a TypeError without one
            OSError.__setattr__(self, "strerror", message)

    def __str__(self) -> str:
        message = str(self.args[0]) if self.args else ""
        return f"{message}\n  hint: {self.hint}" if self.hint else message

    def __reduce__(self) -> tuple[Any, ...]:
        return _revived, (type(self), self.args), self.__dict__


def _revived(kind: type[MTLSError], args: tuple[Any, ...]) -> MTLSError:
    error = kind.__new__(kind)
    error.args = args
    if isinstance(error, OSError):
        OSError.__setattr__(error, "strerror", args[0])
    return error


class ConfigurationError(MTLSError, ValueError):
    """The caller asked for something that is contradictory, malformed or unsafe."""

    code = "configuration"


class MissingExtraError(ConfigurationError, ImportError):
    """An optional dependency is not installed; the hint names the extra."""

    code = "missing_extra"


class IdentityError(MTLSError):
    """Our identity (certificate and key) cannot be used."""

    code = "identity"


class IdentityNotFoundError(IdentityError):
    """There is no file, no certificate or no private key where one was looked for."""

    code = "identity_not_found"


class IdentityFormatError(IdentityError):
    """The bytes are not a certificate or key that this library can read."""

    code = "identity_format"


class PasswordError(IdentityError):
    """The password is wrong, or one is needed and none was given."""

    code = "password"


class KeyMismatchError(IdentityError):
    """The private key does not belong to the certificate."""

    code = "key_mismatch"


class AmbiguousIdentityError(IdentityError):
    """There are several identities and the selection does not say which."""

    code = "identity_ambiguous"


class KeyringError(IdentityError):
    """The OS keyring is locked, missing, unsafe, damaged, or does not answer."""

    code = "keyring"


class IdentityExpiredError(IdentityError):
    """Our certificate has expired."""

    code = "identity_expired"


class IdentityNotYetValidError(IdentityError):
    """Our certificate is not valid yet."""

    code = "identity_not_yet_valid"


class IdentityPurposeError(IdentityError):
    """Our certificate is not meant for client authentication (RFC 5280 §4.2.1.3, §4.2.1.12)."""

    code = "identity_purpose"


class WeakIdentityError(IdentityError):
    """Our key or certificate is too weak: RSA under 2048 bits, or a SHA-1 or MD5 signature."""

    code = "identity_weak"


class TrustError(MTLSError, ssl.SSLCertVerificationError):
    """We refused the server.

    Attributes:
        host: the name we wanted to reach, or None.
        verify_code: OpenSSL's verification result, 0 where OpenSSL was content
            (X509_STORE_CTX_get_error(3)).
        verify_message: OpenSSL's words for it.
    """

    code = "untrusted"
    host: str | None
    verify_code: int
    verify_message: str

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        code: str | None = None,
        host: str | None = None,
        verify_code: int = 0,
        verify_message: str = "",
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.host = host
        self.verify_code = verify_code
        self.verify_message = verify_message
        self.reason = "CERTIFICATE_VERIFY_FAILED"
        self.library = "SSL"


class UntrustedServerError(TrustError):
    """The server's certificate does not lead to a root that we trust, or breaks a rule of X.509."""

    code = "server_untrusted"


class HostnameMismatchError(TrustError):
    """The server's certificate is for other names (RFC 9525)."""

    code = "server_hostname"


class ServerCertificateExpiredError(TrustError):
    """A certificate of the server's chain has expired or is not valid yet."""

    code = "server_expired"


class PinMismatchError(TrustError):
    """No certificate of the server's verified chain has a pinned public key.

    Attributes:
        configured: the pins that were asked for, as text.
        presented: `(subject, pin)` of each certificate of the verified chain, leaf first.
    """

    code = "pin_mismatch"
    configured: tuple[str, ...] = ()
    presented: tuple[tuple[str, str], ...] = ()


class RevokedError(TrustError):
    """A certificate of the server's chain has been revoked."""

    code = "server_revoked"


class RevocationUnknownError(TrustError):
    """Revocation was to be checked and could not be: no CRL for the issuer, or an expired one."""

    code = "revocation_unknown"


class RejectionReason(enum.StrEnum):
    """Why a server refused our identity, the same words for TLS 1.2 and 1.3."""

    MISSING = "missing"
    """The server demands a certificate and we presented none."""
    EXPIRED = "expired"
    REVOKED = "revoked"
    UNTRUSTED = "untrusted"
    """The server does not know the CA that issued our certificate."""
    UNSUPPORTED = "unsupported"
    """The certificate's usage, or the kind of its key, is not what the server allows."""
    BAD = "bad"
    """The server found the certificate corrupt or otherwise unacceptable."""
    DENIED = "denied"
    """The certificate was valid and the server's access rules said no."""
    UNKNOWN = "unknown"
    """The server broke off without a reason."""


class IdentityRejectedError(MTLSError, ssl.SSLError):
    """The server refused our identity, or our not having one.

    Attributes:
        reason: a `RejectionReason`, the same under TLS 1.2 and 1.3.
        alert: the TLS alert as RFC 8446 §6 names it (`certificate_expired`), or None
            if the server closed the connection without one.
        certain: False where only the end of the connection was seen.
        host: the server's name, or None.
        unprocessed: the server has surely not seen the request, whatever its method.
    """

    code = "identity_rejected"
    reason: RejectionReason
    alert: str | None
    certain: bool
    host: str | None
    unprocessed: bool = False

    def __init__(
        self,
        message: str,
        *,
        reason: RejectionReason,
        alert: str | None = None,
        certain: bool = True,
        host: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
        self.alert = alert
        self.certain = certain
        self.host = host
        self.library = "SSL"


class RenewalError(MTLSError):
    """A new identity could not be had; the present one stays.

    Attributes:
        retry_after: how many seconds the issuer wants to be left alone, or None.
    """

    code = "renewal"
    retryable = True
    retry_after: float | None = None

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.retry_after = retry_after


class RenewalRefusedError(RenewalError):
    """The issuer says no, and will say so again until somebody changes something."""

    code = "renewal_refused"
    retryable = False


class LockTimeoutError(RenewalError, TimeoutError):
    """Another process has been renewing the same identity for too long."""

    code = "renewal_locked"
