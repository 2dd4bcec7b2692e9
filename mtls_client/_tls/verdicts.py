"""What OpenSSL says about the server's certificate, as our errors.

The numbers are OpenSSL's X509_V_ERR codes (X509_STORE_CTX_get_error(3)).
"""

from __future__ import annotations

import ssl

from mtls_client.errors import (
    HostnameMismatchError,
    RevocationUnknownError,
    RevokedError,
    ServerCertificateExpiredError,
    TrustError,
    UntrustedServerError,
)

__all__ = ["verdict"]

_REISSUE_CA = (
    "reissue the CA: openssl req -x509 -new -key ca.key -out ca.pem -subj '/CN=…' "
    "-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign"
)
_REISSUE_LEAF = (
    "reissue the certificate with an extension file: subjectAltName=DNS:…, "
    "authorityKeyIdentifier=keyid, subjectKeyIdentifier=hash"
)
_CRITICAL = "reissue it with a subject, or with subjectAltName=critical,DNS:…"
_TOLERATE = "or accept such CAs with Trust.from_file(…, allow_legacy_ca=True)"

# what X509_V_FLAG_X509_STRICT finds; tutorials make such CAs
_STRICT = {
    80: ("a certificate that is no CA has a path length", _REISSUE_LEAF),
    81: ("a CA certificate has a path length and may not sign certificates", _REISSUE_CA),
    82: ("a certificate that is no CA may sign certificates", _REISSUE_LEAF),
    83: ("a certificate has an empty issuer", _REISSUE_LEAF),
    84: ("a CA certificate has an empty subject", _REISSUE_CA),
    85: ("a certificate has no authority key identifier", _REISSUE_LEAF),
    86: ("a CA certificate has no subject key identifier", _REISSUE_CA),
    87: ("a certificate has an empty subjectAltName", _REISSUE_LEAF),
    88: ("a certificate has an empty subject and its subjectAltName is not critical", _CRITICAL),
    89: ("basicConstraints of a CA certificate is not critical", _REISSUE_CA),
    90: ("the authority key identifier of a certificate is critical", _REISSUE_LEAF),
    91: ("the subject key identifier of a certificate is critical", _REISSUE_LEAF),
    92: ("a CA certificate has no key usage", _REISSUE_CA),
    93: ("a certificate has extensions and says that it is of version 1", _REISSUE_LEAF),
    94: ("a key spells out its elliptic curve instead of naming it", _REISSUE_LEAF),
}

_TRUST_CA = "trust the private CA: Trust.from_file('ca.pem'), or Trust.system().adding('ca.pem')"

_UNTRUSTED = {
    18: (
        "it is self-signed and not among the trusted roots",
        "get the certificate by a safe way and trust it: Trust.from_file('server.pem')",
    ),
    19: ("its root is not among the trusted roots", _TRUST_CA),
    20: (
        "its issuer is not among the trusted roots, or the server left out an intermediate",
        f"{_TRUST_CA}; if it is a public CA, the server must send its intermediates",
    ),
    79: (
        "a certificate of its chain is used as a CA and is none (basicConstraints CA:TRUE)",
        _REISSUE_CA,
    ),
    26: (
        "it is not meant for server authentication (extended key usage)",
        "the server needs a certificate with extended key usage serverAuth",
    ),
}
_UNTRUSTED[21] = _UNTRUSTED[2] = _UNTRUSTED[20]


def verdict(error: ssl.SSLCertVerificationError, host: str | None) -> TrustError:
    """Return the error for a failed verification."""
    number, words = error.verify_code, error.verify_message
    kind: type[TrustError] = UntrustedServerError
    code = None
    fact, hint = words, "look at the server's chain with: openssl s_client -connect HOST:PORT"
    if number in (9, 10):
        kind = ServerCertificateExpiredError
        fact = "a certificate of its chain has expired" if number == 10 else "it is not valid yet"
        hint = "the server's owner must renew it; if it is new, check this machine's clock"
    elif number in (62, 64):
        kind = HostnameMismatchError
        fact = "its certificate names other hosts (subjectAltName; the common name does not count)"
        hint = (
            "call the server by a name that its certificate holds, "
            "or have it reissued with subjectAltName=DNS:…"
        )
    elif number == 23:
        kind, fact = RevokedError, "its certificate has been revoked"
        hint = "do not talk to this server until its owner has replaced the certificate"
    elif number in (3, 11, 12):
        kind = RevocationUnknownError
        fact = {3: "there is no CRL of its issuer", 12: "the CRL of its issuer has expired"}.get(
            number, "the CRL of its issuer is not valid yet"
        )
        hint = "fetch the issuer's current CRL and pass it: Trust.from_file(…, crls=['issuer.crl'])"
    elif number in _STRICT:
        code = "server_legacy_ca"
        fact, reissue = _STRICT[number]
        hint = f"{reissue}; {_TOLERATE}"
    elif number in _UNTRUSTED:
        fact, hint = _UNTRUSTED[number]
    return kind(
        f"{host or 'the server'} is not trusted: {fact} (OpenSSL {number}: {words})",
        hint=hint,
        code=code,
        host=host,
        verify_code=number,
        verify_message=words,
    )
