"""Every finding there is: its code, how bad it is, and its title.

The order is that of a report: causes stand before their effects. docs/doctor.md explains each.
"""

from __future__ import annotations

from collections.abc import Iterable

from mtls_client.doctor.report import Finding, Report, Severity
from mtls_client.errors import MTLSError

__all__ = ["CODES", "LOADING", "found", "loading", "report"]

LOADING = "identity"
"""Where the codes of loading stand, of which docs/identities.md has the list."""

_ERRORS = {
    "clock_wrong": "this machine's clock is wrong",
    "file_request": "a certificate request was given as the certificate",
    "file_public_key": "a public key was given as the private key",
    "source_slow": "the source does not answer",
    "source_failed": "the source failed",
    LOADING: "our identity cannot be loaded",
    "identity_is_ca": "our certificate is one of a CA",
    "identity_expired": "our certificate has expired",
    "identity_not_yet_valid": "our certificate is not valid yet",
    "identity_revoked": "our certificate has been revoked",
    "identity_for_servers": "our certificate is meant for a server",
    "identity_purpose": "our certificate is not meant for client authentication",
    "identity_weak": "our key or certificate is too weak",
    "issuer_expired": "an intermediate that we send is not valid now",
    "url_malformed": "not a URL that can be called",
    "url_plain": "the URL is http, where nothing is encrypted and nobody has a certificate",
    "proxy_unreachable": "the proxy cannot be reached",
    "proxy_refused": "the proxy answers in the place of the server",
    "name_unresolved": "the server's name cannot be resolved",
    "unreachable": "nobody answers at the server's address",
    "plain_http": "the port speaks http, not https",
    "no_tls": "the port does not speak TLS",
    "tls_version": "the server speaks no TLS version that we accept",
    "tls_parameters": "the server and we have no cipher suite or group in common",
    "sni_unknown": "the server does not know the name that we asked for",
    "server_not_yet_valid": "a certificate of the server is not valid yet",
    "server_expired": "a certificate of the server has expired",
    "server_revoked": "the server's certificate has been revoked",
    "server_hostname": "the server's certificate is for other names",
    "server_chain_incomplete": "the server does not send its intermediate",
    "server_self_signed": "the server's certificate is self-signed",
    "server_untrusted": "the server's certificate leads to no root that we trust",
    "server_legacy_ca": "the server's certificates break a rule of RFC 5280",
    "server_purpose": "the server's certificate is not meant for servers",
    "revocation_unknown": "whether the server's certificate is revoked is not known",
    "pins_expired": "our pins have expired",
    "pin_mismatch": "the server holds none of the pinned keys",
    "identity_needed": "the server demands a client certificate",
    "algorithm_not_accepted": "the server accepts no signature that our key can make",
    "chain_incomplete": "our chain does not lead to a CA that the server accepts",
    "issuer_not_accepted": "the server does not accept our CA",
    "rejected_missing": "the server got no certificate from us",
    "rejected_expired": "the server says that our certificate has expired",
    "rejected_revoked": "the server says that our certificate is revoked",
    "rejected_untrusted": "the server does not know the issuer of our certificate",
    "rejected_unsupported": "the server does not take certificates like ours",
    "rejected_bad": "the server refuses our certificate as bad",
    "rejected_denied": "the server's access rules refuse our certificate",
    "rejected_unknown": "the server broke off after it got our certificate",
    "http_refused_certificate": "the server refuses our certificate with a page",
}
_WARNINGS = {
    "trust_unverified": "no server is verified",
    "files_swapped": "the certificate's file and the key's file are swapped",
    "key_permissions": "others may read our private key",
    "chain_disordered": "the certificates stand in the wrong order",
    "self_signed": "our certificate is self-signed",
    "identity_expires_soon": "our certificate expires soon",
    "proxy_unsupported": "the doctor cannot look through this kind of proxy",
    "server_expires_soon": "the server's certificate expires soon",
    "certificate_not_requested": "the server did not ask for our certificate",
    "http_denied": "the application, or a proxy in front of it, denies access",
    "http_failed": "the server fails",
    "no_answer": "the server does not answer the request",
}
_INFOS = {
    "file_misnamed": "a file holds another format than its name says",
    "chain_duplicate": "a certificate is there twice",
    "chain_unrelated": "certificates that are no part of our chain",
    "chain_open": "our chain ends before a root",
    "identity_read": "our identity",
    "proxy_used": "there is a proxy in between",
    "tls_spoken": "TLS",
    "server_chain": "the server's chain as it was sent",
    "server_pins": "the pins of the server's chain, ready to paste",
    "pins_matched": "the server holds a pinned key",
    "certificate_requested": "the server asks for a client certificate",
    "not_presented": "our certificate was not presented",
    "identity_accepted": "the server accepted our certificate",
    "http_answer": "the server answers",
}

CODES = {
    code: (severity, title)
    for severity, titles in (
        (Severity.ERROR, _ERRORS),
        (Severity.WARNING, _WARNINGS),
        (Severity.INFO, _INFOS),
    )
    for code, title in titles.items()
}
_ORDER = {code: position for position, code in enumerate(CODES)}


def found(code: str, evidence: str, hint: str | None = None) -> Finding:
    """Return a finding of the catalogue."""
    severity, title = CODES[code]
    return Finding(code, severity, title, evidence, hint)


def loading(error: MTLSError) -> Finding:
    """Return the finding for an error of loading an identity, under the error's own code."""
    severity, title = CODES.get(error.code, CODES[LOADING])
    return Finding(error.code, severity, title, str(error.args[0]), error.hint)


def report(findings: Iterable[Finding]) -> Report:
    """Return the findings in order, each once."""
    unknown = _ORDER[LOADING]
    once = dict.fromkeys(findings)
    return Report(tuple(sorted(once, key=lambda one: _ORDER.get(one.code, unknown))))
