"""What is wrong with our certificate and its chain, whoever the server is (pure)."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID

from mtls_client._formats import fitness, names, parsing
from mtls_client.doctor.catalogue import found
from mtls_client.doctor.loading import Ours
from mtls_client.doctor.report import Finding

__all__ = ["examined", "expires_soon", "issued", "leads_to_root"]

_SOON = datetime.timedelta(days=30)


def examined(
    ours: Ours,
    roots: Iterable[x509.Certificate],
    crls: Iterable[bytes],
    now: datetime.datetime,
) -> Iterator[Finding]:
    """Return what can be said about our certificate without asking anybody.

    Args:
        ours: what there is of our identity.
        roots: CAs that are known here.
        crls: certificate revocation lists as PEM.
        now: the time to judge by.
    """
    leaf = ours.leaf
    if leaf is None:
        return
    yield from _dates(leaf, now)
    yield from _purpose(leaf)
    yield from _strength(ours)
    yield from _issuers(ours, list(roots), now)
    if any(_revokes(crl, leaf) for crl in crls):
        evidence = f"serial {parsing.serial(leaf)} is on the CRL of {names.text(leaf.issuer)}"
        yield found("identity_revoked", evidence, "ask the issuer for a new one, with a new key")
    if ours.identity is not None:
        identity = ours.identity
        yield found(
            "identity_read",
            f"{identity.subject}, serial {identity.serial}\n"
            f"issued by {identity.issuer}\n"
            f"valid {_date(identity.not_before)} to {_date(identity.not_after)} UTC\n"
            f"{identity.key_type} {identity.key_bits} bits, sha256 {identity.fingerprint}",
        )


def expires_soon(certificate: x509.Certificate, now: datetime.datetime) -> bool:
    """Tell whether less than a fifth of its life is left, and less than 30 days."""
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return begin <= now < end and end - now < min((end - begin) / 5, _SOON)


def leads_to_root(ours: Ours, roots: Iterable[x509.Certificate]) -> bool:
    """Tell whether the chain ends in a root, its own or one that is known here."""
    last = (ours.chain or (ours.leaf,))[-1]
    return last is not None and (last.subject == last.issuer or any(issued(last, r) for r in roots))


def issued(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    """Tell whether a certificate bears the name and the signature of another."""
    try:
        certificate.verify_directly_issued_by(by)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return True


def _date(moment: datetime.datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _dates(leaf: x509.Certificate, now: datetime.datetime) -> Iterator[Finding]:
    subject = names.text(leaf.subject)
    begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    clock = f"check this machine's clock: it says {_date(now)} UTC"
    if now >= end:
        evidence = f"{subject} expired on {_date(end)} UTC"
        yield found("identity_expired", evidence, f"renew it; if it should be valid, {clock}")
    elif now < begin:
        yield found("identity_not_yet_valid", f"{subject} is valid from {_date(begin)} UTC", clock)
    elif expires_soon(leaf, now):
        left = end - now
        span = f"{left.days} days" if left.days else f"{left.seconds // 3600} hours"
        yield found(
            "identity_expires_soon",
            f"{subject} expires on {_date(end)} UTC, in {span}",
            "renew it now, and have it renewed by itself from then on",
        )


def _purpose(leaf: x509.Certificate) -> Iterator[Finding]:
    subject = names.text(leaf.subject)
    missing = fitness.missing_usage(leaf)
    if fitness.is_ca(leaf):
        own = ", and it is self-signed" if leaf.subject == leaf.issuer else ""
        yield found(
            "identity_is_ca",
            f"{subject} has basicConstraints CA:TRUE{own}",
            "give the certificate that this CA has issued for you, and its key; "
            "look for it with: mtls inventory FOLDER",
        )
    elif missing and _for_servers(leaf):
        yield found(
            "identity_for_servers",
            f"{subject} has extended key usage serverAuth and lacks clientAuth",
            "ask the CA for a certificate with extended key usage clientAuth",
        )
    elif missing:
        yield found(
            "identity_purpose",
            f"{subject}: {missing}",
            "ask the CA for extended key usage clientAuth and key usage digitalSignature",
        )
    if leaf.subject == leaf.issuer and not fitness.is_ca(leaf):
        yield found(
            "self_signed",
            f"{subject} was issued by nobody but itself",
            "it works only where the server has this very certificate on its list",
        )


def _for_servers(leaf: x509.Certificate) -> bool:
    return any(
        isinstance(one.value, x509.ExtendedKeyUsage)
        and ExtendedKeyUsageOID.SERVER_AUTH in one.value
        for one in leaf.extensions
    )


def _strength(ours: Ours) -> Iterator[Finding]:
    sent = [one for one in (ours.leaf, *ours.chain) if one and one.subject != one.issuer]
    for certificate in sent:
        subject = names.text(certificate.subject)
        if weak := fitness.weak_signature(certificate):
            hint = "have it reissued with a SHA-256 signature"
            yield found("identity_weak", f"{subject} is signed with {weak}", hint)
    identity = ours.identity
    if identity is not None and identity.key_type == "RSA" and identity.key_bits < 2048:
        yield found(
            "identity_weak",
            f"the RSA key of {identity.subject} has {identity.key_bits} bits",
            "ask for a certificate with an RSA key of 2048 bits or more, or P-256",
        )


def _issuers(
    ours: Ours, roots: list[x509.Certificate], now: datetime.datetime
) -> Iterator[Finding]:
    for one in ours.chain:
        begin, end = one.not_valid_before_utc, one.not_valid_after_utc
        # a root is not sent, and servers do not look at its dates
        if one.subject != one.issuer and not begin <= now < end:
            yield found(
                "issuer_expired",
                f"{names.text(one.subject)} is valid {_date(begin)} to {_date(end)} UTC",
                "get the CA's current intermediate and put it in its place",
            )
    if not leads_to_root(ours, roots):
        last = (ours.chain or (ours.leaf,))[-1]
        assert last is not None  # there is no chain without a leaf
        yield found(
            "chain_open",
            f"nothing here issued {names.text(last.subject)}: it names {names.text(last.issuer)}",
            "right if the server has that CA on its list; if it is an intermediate, add it: "
            "cat intermediate.pem >> client.pem",
        )


def _revokes(pem: bytes, leaf: x509.Certificate) -> bool:
    crl = x509.load_pem_x509_crl(pem)
    listed = crl.get_revoked_certificate_by_serial_number(leaf.serial_number)
    return crl.issuer == leaf.issuer and listed is not None
