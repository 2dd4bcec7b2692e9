"""What OpenSSL says when it gives up, but for its verdicts on certificates (`_tls.verdicts`).

The names are OpenSSL's reasons as `ssl.SSLError.reason` has them.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from mtls_client._tls.alerts import overheard, reason_of, spoken_alert
from mtls_client.explanation.value import Explanation, Whose

__all__ = ["said", "verification"]


class _Meaning(NamedTuple):
    whose: Whose
    code: str
    why: str
    hint: str
    certain: bool = True


_NOT_TLS = _Meaning(
    Whose.SETTINGS,
    "not_tls",
    "{where} does not speak TLS on this port: what came back is something else, such as plain HTTP",
    "check the port, often 443 or 8443 for https; the URL of a proxy mostly begins with http://",
)
_VERSIONS = _Meaning(
    Whose.SETTINGS,
    "tls_version",
    "{where} and this client share no version of TLS",
    "mtls-client speaks TLS 1.2 and 1.3: the server has to offer one of them, and "
    "Trust(minimum_version=…) has to allow it",
)
_FILE = _Meaning(
    Whose.OURS,
    "identity_format",
    "the file is no PEM with a certificate and its key",
    "see what it is: mtls show FILE; mtls-client reads PKCS#12 and DER as well: FileSource(FILE)",
)
_PASSWORD = _Meaning(
    Whose.OURS,
    "password",
    "the key is encrypted and the password is wrong or missing",
    "give the password: FileSource(FILE, password=…)",
)
_WEAK = _Meaning(
    Whose.OURS,
    "identity_weak",
    "our certificate is too weak for OpenSSL: a short key, or a signature with SHA-1 or MD5",
    "ask the issuer for a certificate with RSA 2048 or P-256 and SHA-256",
)

_MEANINGS = {
    "WRONG_VERSION_NUMBER": _NOT_TLS,
    "HTTP_REQUEST": _NOT_TLS,
    "HTTPS_PROXY_REQUEST": _NOT_TLS,
    "RECORD_LAYER_FAILURE": _NOT_TLS,
    "PACKET_LENGTH_TOO_LONG": _NOT_TLS,
    "UNKNOWN_PROTOCOL": _NOT_TLS,
    "UNSUPPORTED_PROTOCOL": _VERSIONS,
    "WRONG_SSL_VERSION": _VERSIONS,
    "NO_PROTOCOLS_AVAILABLE": _VERSIONS,
    "protocol_version": _VERSIONS,
    "PEM_LIB": _FILE,
    "NO_START_LINE": _FILE,
    "BAD_BASE64_DECODE": _FILE,
    "NOT_ENOUGH_DATA": _FILE,
    "BAD_DECRYPT": _PASSWORD,
    "BAD_PASSWORD_READ": _PASSWORD,
    "EE_KEY_TOO_SMALL": _WEAK,
    "CA_MD_TOO_WEAK": _WEAK,
    "KEY_VALUES_MISMATCH": _Meaning(
        Whose.OURS,
        "key_mismatch",
        "the private key does not belong to the certificate",
        "find the key that was made with the certificate's request; compare with: mtls show FILE",
    ),
    "DH_KEY_TOO_SMALL": _Meaning(
        Whose.THEIRS,
        "server_weak",
        "{where} offers a key exchange that is too weak for OpenSSL",
        "the server's owner must use ECDHE, or Diffie-Hellman with 2048 bits",
    ),
    "UNSAFE_LEGACY_RENEGOTIATION_DISABLED": _Meaning(
        Whose.THEIRS,
        "server_renegotiation",
        "{where} wants to renegotiate in the old, unsafe way (RFC 5746)",
        "the server's owner must update it; a certificate that is asked for per path is often why",
    ),
    "UNEXPECTED_EOF_WHILE_READING": _Meaning(
        Whose.UNKNOWN,
        "ended",
        "{where} hung up in the middle of TLS without an alert; some servers, as Node's, do so "
        "when they refuse a client certificate, but so does one that is restarted",
        "call it through a session of mtls-client, which asks again and tells whether the server "
        "wants a certificate; then ask the server's owner what its log says",
        certain=False,
    ),
    "handshake_failure": _Meaning(
        Whose.OURS,
        "rejected_missing",
        "{where} broke off the handshake (alert handshake_failure), which under TLS 1.2 is how a "
        "server says that it demands a client certificate and received none; it may also mean "
        "that the two share no cipher suite",
        "pass a source with your certificate and key; if you did, see what the server offers: "
        "openssl s_client -connect HOST:PORT",
        certain=False,
    ),
    "unrecognized_name": _Meaning(
        Whose.SETTINGS,
        "server_name",
        "the server knows no host {where} (alert unrecognized_name)",
        "check the host in the URL: the name, not an address, decides which host answers",
    ),
}
_MEANINGS["NO_SUITABLE_DIGEST_ALGORITHM"] = _WEAK
# an alert whose name OpenSSL does not mark as one
_MEANINGS["TLSV1_UNRECOGNIZED_NAME"] = _MEANINGS["unrecognized_name"]


def said(reason: str, host: str | None, seen: str) -> Explanation:
    """Explain a reason.

    Args:
        reason: OpenSSL's name for it.
        host: the server's name.
        seen: for the evidence.
    """
    alert = spoken_alert(reason)
    if (refusal := reason_of(alert)) is not None:
        why, hint = overheard(refusal, f"alert {alert}", host=host)
        return Explanation(
            whose=Whose.OURS,
            why=why,
            evidence=seen,
            hint=hint,
            certain=True,
            code=f"rejected_{refusal}",
        )
    meaning = _MEANINGS.get(alert or reason) or _unknown(alert, reason)
    return Explanation(
        whose=meaning.whose,
        why=meaning.why.replace("{where}", host or "the server"),
        evidence=seen,
        hint=meaning.hint,
        certain=meaning.certain,
        code=meaning.code,
    )


def _unknown(alert: str | None, reason: str) -> _Meaning:
    if alert is not None:
        return _Meaning(
            Whose.UNKNOWN,
            "alert",
            f"{{where}} broke off with the alert {alert}, which does not speak of a certificate",
            "ask the server's owner what its log says",
        )
    words = reason.replace("_", " ").lower()
    return _Meaning(
        Whose.UNKNOWN,
        "tls",
        f"OpenSSL gave up: {words}",
        "see it happen: openssl s_client -connect HOST:PORT; the server's log may say more",
    )


_VERIFY = re.compile(r"certificate verify failed: ([A-Za-z][\w ().,'-]{3,150})")

# the beginnings of X509_verify_cert_error_string(3), in OpenSSL 1.1 and 3
_NUMBERS = {
    "unable to get issuer certificate": 2,
    "unable to get certificate CRL": 3,
    "certificate is not yet valid": 9,
    "certificate has expired": 10,
    "CRL is not yet valid": 11,
    "CRL has expired": 12,
    "self-signed certificate in certificate chain": 19,
    "self signed certificate in certificate chain": 19,
    "self-signed certificate": 18,
    "self signed certificate": 18,
    "unable to get local issuer certificate": 20,
    "unable to verify the first certificate": 21,
    "certificate revoked": 23,
    "unsuitable certificate purpose": 26,
    "unsupported certificate purpose": 26,
    "Hostname mismatch": 62,
    "IP address mismatch": 64,
    "invalid CA certificate": 79,
    "Path length invalid for non-CA cert": 80,
    "Path length given without key usage keyCertSign": 81,
    "Key usage keyCertSign invalid for non-CA cert": 82,
    "Issuer name empty": 83,
    "Subject name empty": 84,
    "Missing Authority Key Identifier": 85,
    "Missing Subject Key Identifier": 86,
    "Empty Subject Alternative Name extension": 87,
    "Subject empty and Subject Alt Name extension not critical": 88,
    "Basic Constraints of CA cert not marked critical": 89,
    "Authority Key Identifier marked critical": 90,
    "Subject Key Identifier marked critical": 91,
    "CA cert does not include key usage extension": 92,
    "Using cert extension requires at least X509v3": 93,
    "Certificate public key has explicit ECC parameters": 94,
}


def verification(text: str) -> tuple[int, str] | None:
    """Return number and words of a failed verification that a text tells of, or None."""
    if (found := _VERIFY.search(text)) is None:
        return None
    for words, number in _NUMBERS.items():
        if found.group(1).startswith(words):
            return number, words
    return None
