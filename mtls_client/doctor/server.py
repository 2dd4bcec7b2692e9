"""What is wrong with a server: its TLS, its certificates, its name.

OpenSSL stops at the first fault of a chain. It is therefore asked again with that fault forgiven,
until it has no other; each time nothing is presented and not one byte of a request is sent.
"""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID

from mtls_client._formats import names, parsing
from mtls_client._tls.alerts import spoken_alert
from mtls_client._tls.anchors import anchor
from mtls_client._tls.inner import verify_flags
from mtls_client._tls.verdicts import verdict
from mtls_client.doctor.catalogue import CODES, found
from mtls_client.doctor.ours import expires_soon, issued
from mtls_client.doctor.recorder import Recorder
from mtls_client.doctor.report import Finding
from mtls_client.doctor.route import Route
from mtls_client.errors import TrustError
from mtls_client.trust import Trust

__all__ = ["Judgement", "certificates_of", "described", "judge"]

_MOST_FAULTS = 6
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, X509_VERIFY_PARAM_set_flags(3)

# X509_V_ERR codes, X509_STORE_CTX_get_error(3)
_NO_ROOT = {2, 18, 19, 20, 21}
_DATES, _NAMES, _REVOCATION = {9, 10}, {62, 64}, {3, 11, 12, 23}
_STRICT = {*range(80, 95)}
_CODES = {9: "server_not_yet_valid", 18: "server_self_signed", 26: "server_purpose"}


@dataclass(slots=True)
class Judgement:
    """What came of asking.

    Attributes:
        heard: what was said in the last handshake.
        faults: every reason not to trust the server.
        failure: why there was no handshake at all, or None.
        version: of TLS, empty if there was no handshake.
        cipher: the cipher suite.
    """

    heard: Recorder = field(default_factory=Recorder)
    faults: list[TrustError] = field(default_factory=list)
    failure: OSError | None = None
    version: str = ""
    cipher: str = ""

    @property
    def spoke(self) -> bool:
        """Whether the server spoke TLS with us, however it ended."""
        return bool(self.heard.certificates)


def judge(route: Route, trust: Trust) -> Judgement:
    """Ask OpenSSL for everything that it has against a server.

    Raises:
        Unreached: there is no server.
    """
    judgement = Judgement()
    demands = _Demands(trust)
    for _ in range(_MOST_FAULTS):
        judgement.heard = Recorder()
        context = demands.context(judgement.heard)
        try:
            with (
                route.connect() as plain,
                context.wrap_socket(plain, server_hostname=route.host) as connection,
            ):
                judgement.version = connection.version() or ""
                judgement.cipher = (connection.cipher() or ("",))[0]
        except ssl.SSLCertVerificationError as error:
            judgement.faults.append(verdict(error, route.host))
            demands = demands.but_for(error.verify_code, judgement.heard.certificates)
            continue
        except OSError as error:
            judgement.failure = error
        break
    return judgement


def described(
    judgement: Judgement,
    route: Route,
    trust: Trust,
    known: Iterable[x509.Certificate],
    now: datetime.datetime,
) -> Iterator[Finding]:
    """Return the findings of a judgement.

    Args:
        judgement: what came of asking.
        route: the way to the server.
        trust: what it had to prove.
        known: further certificates of CAs, one of which the server may have left out.
        now: the time to judge by.
    """
    if not judgement.spoke:
        yield _silence(judgement, route, trust)
        return
    if judgement.version:
        yield found("tls_spoken", f"{judgement.version}, {judgement.cipher}")
    sent = certificates_of(judgement.heard.certificates)
    for fault in judgement.faults:
        yield _fault(fault, sent, list(known))
    if judgement.faults:
        yield found("server_chain", "\n".join(map(_line, sent)), _UNVERIFIED)
    elif sent and expires_soon(sent[0], now):
        yield found("server_expires_soon", _line(sent[0]), "tell the server's owner")
    if not trust.verified:
        yield found(
            "trust_unverified",
            f"{route.host} could be anybody",
            "trust its CA: Trust.from_file('ca.pem')",
        )


_UNVERIFIED = "do not pin any of these keys: nobody vouches for them"


def certificates_of(ders: Iterable[bytes]) -> list[x509.Certificate]:
    """Return those certificates that can be read."""
    found: list[x509.Certificate] = []
    for der in ders:
        try:
            found += [one for one in parsing.certificates([der]) if parsing.readable(one)]
        except parsing.UNREADABLE:
            continue
    return found


def _line(certificate: x509.Certificate) -> str:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return (
        f"{names.text(certificate.subject)}, issued by {names.text(certificate.issuer)}, "
        f"valid {begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"
    )


def _silence(judgement: Judgement, route: Route, trust: Trust) -> Finding:
    """Say what is there where no TLS server answered."""
    failure = judgement.failure
    alert = spoken_alert(failure) if isinstance(failure, ssl.SSLError) else None
    reason = getattr(failure, "reason", None) or type(failure).__name__
    evidence = f"{route.where}: {f'alert {alert}' if alert else reason}"
    if alert == "protocol_version" or reason in ("UNSUPPORTED_PROTOCOL", "WRONG_SSL_VERSION"):
        newest = f", {trust.maximum_version.name} at most" if trust.maximum_version else ""
        return found(
            "tls_version",
            f"{evidence}\nwe accept {trust.minimum_version.name} or newer{newest}",
            "the server's owner must enable TLS 1.2 or 1.3; if we ask for 1.3 only, accept 1.2 "
            "with minimum_version='1.2'",
        )
    if alert in ("handshake_failure", "insufficient_security"):
        return found(
            "tls_parameters",
            evidence,
            "the server's owner must enable a modern cipher suite with ECDHE; its log says more",
        )
    if alert == "unrecognized_name":
        return found("sni_unknown", evidence, "call the server by a name that it is configured for")
    # not after an alert: it takes TLS to send one
    if not alert and (judgement.heard.begin == b"HTTP/" or route.speaks_http()):
        return found(
            "plain_http",
            f"{route.where} answers in plain HTTP",
            "use the port for https, often 443 or 8443; or have TLS switched on there",
        )
    return found("no_tls", evidence, "is this the right port?")


def _fault(
    fault: TrustError, sent: list[x509.Certificate], known: list[x509.Certificate]
) -> Finding:
    code = _CODES.get(fault.verify_code, fault.code)
    evidence, hint = str(fault.args[0]), fault.hint
    if fault.verify_code in _NO_ROOT - {18, 19} and sent:
        last = sent[-1]
        fetched = len(sent) == 1 and _says_where_its_issuer_is(last)
        if fetched or any(issued(last, one) for one in known):
            code = "server_chain_incomplete"
            hint = (
                "the server's owner must configure the certificate with its intermediates "
                "(nginx: ssl_certificate with both in one file); until then trust the "
                "intermediate too: trust.adding('intermediate.pem')"
            )
        evidence += f"\nit sends {len(sent)}, and the last was issued by {names.text(last.issuer)}"
    if fault.verify_code in _DATES | _NAMES and sent:
        evidence += f"\n{_facts(sent, fault.verify_code)}"
    if code in CODES:
        return found(code, evidence, hint)
    return found("server_untrusted", evidence, hint)


def _facts(sent: list[x509.Certificate], number: int) -> str:
    if number in _DATES:
        return "\n".join(map(_line, sent))
    holds = [*names.alternative(sent[0], x509.DNSName), *names.addresses(sent[0])]
    return f"it is for {names.printable(', '.join(holds)) or 'no name at all'}"


def _says_where_its_issuer_is(certificate: x509.Certificate) -> bool:
    return any(
        isinstance(one.value, x509.AuthorityInformationAccess)
        and any(
            access.access_method == AuthorityInformationAccessOID.CA_ISSUERS for access in one.value
        )
        for one in certificate.extensions
    )


@dataclass(frozen=True, slots=True)
class _Demands:
    """What is demanded of a server: a trust, with some of it forgiven."""

    trust: Trust
    dates: bool = True
    name: bool = True

    def but_for(self, number: int, sent: tuple[bytes, ...]) -> _Demands:
        """Return what is left once a fault is forgiven."""
        trust = self.trust
        if number in _DATES and self.dates:
            return replace(self, dates=False)
        if number in _NAMES and self.name:
            return replace(self, name=False)
        if number in _REVOCATION and trust.crls:
            return replace(self, trust=replace(trust, crls=(), revocation="none"))
        if number in _STRICT and not trust.allow_legacy_ca:
            return replace(self, trust=replace(trust, allow_legacy_ca=True))
        last = certificates_of(sent[-1:])
        if number in _NO_ROOT and last:
            # another trust: roots of this one are shared by all connections of the process
            added = trust.adding(last[0].public_bytes(Encoding.DER))
            if added.anchors.certificates.count(added.anchors.certificates[-1]) == 1:
                return replace(self, trust=added)
        return replace(self, trust=replace(trust, verified=False))

    def context(self, heard: Recorder) -> ssl.SSLContext:
        """Return a context that checks this and presents nothing."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = self.trust.minimum_version
        if self.trust.maximum_version is not None:
            context.maximum_version = self.trust.maximum_version
        context.hostname_checks_common_name = False
        context.check_hostname = self.name and self.trust.verified
        if self.trust.verified:
            flags = verify_flags(self.trust)
            context.verify_flags = flags if self.dates else flags | _NO_CHECK_TIME
            anchor(context, self.trust)
        else:
            context.verify_mode = ssl.CERT_NONE
        context._msg_callback = heard  # type: ignore[attr-defined]  # ssl's own, not in typeshed
        return context
