"""The findings about what a server did with our certificate (pure)."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_client._formats import names, parsing
from mtls_client.doctor.catalogue import found, loading
from mtls_client.doctor.loading import Ours
from mtls_client.doctor.messages import CertificateRequest
from mtls_client.doctor.ours import leads_to_root
from mtls_client.doctor.presenting import Answer, Presented
from mtls_client.doctor.report import Finding
from mtls_client.doctor.server import certificates_of
from mtls_client.errors import IdentityError, PinMismatchError, RejectionReason
from mtls_client.pins import Pin
from mtls_client.trust import Trust

__all__ = ["asked", "ended"]

_CLOCK_SKEW = datetime.timedelta(minutes=5)
_MOST_NAMES = 20


def ended(
    done: Presented,
    ours: Ours,
    trust: Trust,
    host: str,
    roots: Iterable[x509.Certificate],
    now: datetime.datetime,
) -> Iterator[Finding]:
    """Return the findings of a connection that the server passed all checks for.

    Args:
        done: what came of it.
        ours: what there is of our identity.
        trust: what the server had to prove.
        host: its normalised name.
        roots: CAs that are known here.
        now: the time to judge by.
    """
    if done.chain:
        yield found("server_pins", "\n".join(_pins(done.chain)), "pin two keys, one not in use yet")
    if done.chain and trust.pins.applying_to(host) and not _is_pin_error(done):
        yield found("pins_matched", f"one of {len(trust.pins.applying_to(host))} pins")
    refused = _refused(done, ours)
    yield from asked(done.heard.request, ours, roots, refused=refused)
    if refused:
        yield from _refusal(done, ours)
    elif isinstance(done.failure, PinMismatchError):
        yield found(done.failure.code, str(done.failure.args[0]), done.failure.hint)
    elif isinstance(done.failure, IdentityError):
        yield loading(done.failure)
    elif done.failure is not None:
        reason = getattr(done.failure, "strerror", None) or type(done.failure).__name__
        yield found("no_answer", f"{host}: {reason}", "ask the server's owner what its log says")
    if done.heard.sent and not refused and done.failure is None:
        answer = done.answer
        evidence = f"HTTP {answer.status} followed" if answer else "no alert within half a second"
        yield found("identity_accepted", evidence)
    if done.answer is not None:
        yield from _answered(done.answer, now)


def asked(
    request: CertificateRequest | None,
    ours: Ours,
    roots: Iterable[x509.Certificate],
    *,
    refused: bool,
) -> Iterator[Finding]:
    """Return the findings about what the server asked for, against what we have.

    Args:
        request: what it said, or None if it did not ask.
        ours: what there is of our identity.
        roots: CAs that are known here.
        refused: it did not take ours.
    """
    if request is None:
        if ours.identity is not None:
            yield found(
                "certificate_not_requested",
                "nothing was presented, neither in the handshake nor after the request",
                "is this the right port and path? some servers ask for some paths only",
            )
        return
    accepted = [_name(der) for der in request.authorities]
    shown = "\n".join(f"    {one}" for one in accepted[:_MOST_NAMES])
    more = f"\n    and {len(accepted) - _MOST_NAMES} more" if len(accepted) > _MOST_NAMES else ""
    authorities = f"it accepts these CAs:\n{shown}{more}" if accepted else "it names no CAs"
    issuers = [one.issuer for one in (ours.leaf, *ours.chain) if one is not None]
    ours_known = {one.public_bytes() for one in issuers} & {*request.authorities}
    if accepted and issuers:
        authorities += f"\nours, {names.text(issuers[0])}, is "
        authorities += "among them" if ours_known else "not among them"
    yield found("certificate_requested", f"{authorities}\nsignatures: {_schemes(request)}")
    if not (accepted and issuers and refused) or ours_known:
        return
    complete = leads_to_root(ours, roots)
    yield found(
        "issuer_not_accepted" if complete else "chain_incomplete",
        f"ours was issued by {' <- '.join(map(names.text, dict.fromkeys(issuers)))}\n{authorities}",
        "get a certificate of a CA on the list, or have the server's owner add ours"
        if complete
        else "add the missing intermediate: cat intermediate.pem >> client.pem; if there is none, "
        "the server does not accept this CA",
    )


def _refused(done: Presented, ours: Ours) -> bool:
    """Tell whether the server, or what stands in front of it, did not take what it got."""
    if done.answer is None:
        return done.rejection is not None
    # with a certificate, 401 asks for a token or password beside it
    denials = (403,) if ours.identity is not None else (401, 403)
    return done.answer.refusal is not None or done.answer.status in denials


def _refusal(done: Presented, ours: Ours) -> Iterator[Finding]:
    """Return whose fault a refusal is, as far as the server's word tells."""
    request, rejection, answer = done.heard.request, done.rejection, done.answer
    where = f"HTTP {answer.status}, {answer.server or 'no server name'}" if answer else ""
    page = answer.refusal if answer else None
    if ours.identity is None:
        told = rejection is not None or page is not None or request is not None
        if ours.wanted:
            evidence = "it could not be loaded, so nothing is known of what the server does with it"
            yield found("not_presented", evidence)
        elif told:
            evidence = str(rejection.args[0]) if rejection else where
            yield found(
                "identity_needed",
                evidence,
                "pass a source with your certificate and key; `mtls` takes --cert FILE --key FILE",
            )
        return
    if request is not None and not done.heard.sent:
        kind = ours.identity.key_type
        if not _KINDS[kind].intersection(request.signature_algorithms):
            yield found(
                "algorithm_not_accepted",
                f"our key is {kind}; the server accepts {_schemes(request)}",
                "ask for a certificate with a key that it accepts",
            )
            return
    if rejection is not None:
        seen = str(rejection.args[0])
        yield found(f"rejected_{rejection.reason.value}", seen, rejection.hint)
    elif page is RejectionReason.MISSING:
        yield found("rejected_missing", where, "ask the server's owner what its log says")
    elif page is not None:
        yield found(
            "http_refused_certificate",
            where,
            "it is expired, revoked, of an issuer the server does not know, or not for client "
            "authentication; the server's log says which",
        )


def _answered(answer: Answer, now: datetime.datetime) -> Iterator[Finding]:
    evidence = f"HTTP {answer.status}" + (f", {answer.server}" if answer.server else "")
    if answer.status == 403 and answer.refusal is None:
        hint = "TLS is done: ask who may call; a proxy may judge our certificate, too"
        yield found("http_denied", evidence, hint)
    elif answer.status >= 500:
        yield found("http_failed", evidence, "our certificate is not the reason; ask the owner")
    else:
        yield found("http_answer", evidence)
    if answer.date is not None and abs(now - answer.date) > _CLOCK_SKEW:
        yield found(
            "clock_wrong",
            f"it says {now:%Y-%m-%d %H:%M} UTC, the server says {answer.date:%Y-%m-%d %H:%M} UTC",
            "set it, by NTP: timedatectl set-ntp true",
        )


def _is_pin_error(done: Presented) -> bool:
    return isinstance(done.failure, PinMismatchError)


def _pins(chain: Iterable[bytes]) -> Iterator[str]:
    for certificate in certificates_of(chain):
        der = certificate.public_bytes(Encoding.DER)
        yield f"{Pin.of(der)}  # {names.text(certificate.subject)}"


def _name(der: bytes) -> str:
    try:
        return names.text(names.from_der(der))
    except parsing.UNREADABLE:
        return f"a name that cannot be read ({len(der)} bytes)"


# RFC 8446 §4.2.3, SignatureScheme
_SCHEMES = {
    0x0401: "rsa_pkcs1_sha256",
    0x0501: "rsa_pkcs1_sha384",
    0x0601: "rsa_pkcs1_sha512",
    0x0403: "ecdsa_secp256r1_sha256",
    0x0503: "ecdsa_secp384r1_sha384",
    0x0603: "ecdsa_secp521r1_sha512",
    0x0804: "rsa_pss_rsae_sha256",
    0x0805: "rsa_pss_rsae_sha384",
    0x0806: "rsa_pss_rsae_sha512",
    0x0807: "ed25519",
    0x0808: "ed448",
}
_KINDS = {
    "RSA": {number for number, name in _SCHEMES.items() if name.startswith("rsa")},
    "EC": {number for number, name in _SCHEMES.items() if name.startswith("ecdsa")},
    "Ed25519": {0x0807},
    "Ed448": {0x0808},
}


def _schemes(request: CertificateRequest) -> str:
    known = [_SCHEMES[one] for one in request.signature_algorithms if one in _SCHEMES]
    return ", ".join(known) or "none that is known"
