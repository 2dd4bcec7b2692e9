"""The diagnosis: every check, one after the other, and all that they found."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator

from cryptography import x509

from mtls_client._tls.anchors import rooted
from mtls_client.credential import Credential
from mtls_client.doctor.catalogue import found, loading, report
from mtls_client.doctor.ending import asked, ended
from mtls_client.doctor.loading import Ours, loaded
from mtls_client.doctor.ours import examined
from mtls_client.doctor.presenting import present
from mtls_client.doctor.report import Finding, Report
from mtls_client.doctor.route import Unreached, route_to
from mtls_client.doctor.server import described, judge
from mtls_client.errors import IdentityError
from mtls_client.sources.base import Source
from mtls_client.trust import Trust

__all__ = ["clock", "diagnose"]

_LOADING_WITHIN = 30.0


def diagnose(
    source: Source | Credential | None,
    url: str | None = None,
    *,
    trust: Trust = Trust.system(),
    request: bool = True,
    timeout: float = 10.0,
    now: datetime.datetime | None = None,
) -> Report:
    """Find out all that is wrong with an identity, and with calling a server.

    Without a URL nothing leaves this machine. With one, a few handshakes are made that present
    nothing; then, if the server passes the checks of the trust, one that presents the identity,
    fit or not, and a GET of the URL over it. It follows no redirect and sends no credentials.

    Args:
        source: where our identity comes from; a credential stands for the identity that it
            presents; None calls without one.
        url: what is to be called.
        trust: what the server must prove.
        request: make the GET request, without which the refusals of nginx and of applications,
            and a wrong clock, are not seen.
        timeout: the longest that each step may take, in seconds.
        now: the time to judge by (aware); the clock's if None.

    Raises:
        ConfigurationError: that is no source.

    Example:
        >>> diagnose(FileSource("client.p12"), "https://api.example.com")  # doctest: +SKIP
    """
    if source is not None and not isinstance(source, Credential):
        Credential(source, deferred=True)  # refuses what is no source
    moment = now or datetime.datetime.now(datetime.UTC)
    ours, findings = loaded(source, _LOADING_WITHIN)
    roots = _roots(ours, trust)
    findings += examined(ours, roots, trust.crls, moment)
    if url is not None:
        try:
            for one in _called(ours, url, trust, roots, request, timeout, moment):
                findings.append(one)  # those before the way ended stay
        except Unreached as end:
            findings.append(end.finding)
    findings += list(clock(findings, moment))
    return report(findings)


def clock(findings: Iterable[Finding], now: datetime.datetime) -> Iterator[Finding]:
    """Return that our clock is wrong, if certificates of both sides say so."""
    codes = {one.code for one in findings}
    if codes >= {"server_not_yet_valid", "identity_not_yet_valid"}:
        evidence = f"it says {now:%Y-%m-%d %H:%M} UTC, before both certificates were issued"
        yield found("clock_wrong", evidence, "set it, by NTP: timedatectl set-ntp true")


def _roots(ours: Ours, trust: Trust) -> list[x509.Certificate]:
    offered = ours.identity.roots if ours.identity is not None else ()
    pems = [pem.encode() for pem in trust.anchors.certificates]
    return [*offered, *map(x509.load_pem_x509_certificate, pems)]


def _called(
    ours: Ours,
    url: str,
    trust: Trust,
    roots: list[x509.Certificate],
    request: bool,
    timeout: float,
    now: datetime.datetime,
) -> Iterator[Finding]:
    route = route_to(url, timeout)
    if route.proxy is not None:
        yield found("proxy_used", f"{route.proxy_where}, as the environment says")
    try:
        trust = rooted(trust, ours.identity)
    except IdentityError as error:
        yield loading(error)
        return
    judgement = judge(route, trust)
    yield from described(judgement, route, trust, [*ours.chain, *roots], now)
    if not judgement.spoke:
        return
    if judgement.faults:
        yield from asked(judgement.heard.request, ours, roots, refused=False)
        if ours.identity is not None:
            yield found("not_presented", "the server did not pass the checks of our trust")
        return
    done = present(route, ours.identity, trust, request=request)
    if done.version and not judgement.version:
        yield found("tls_spoken", f"{done.version}, {done.cipher}")
    yield from ended(done, ours, trust, route.host, roots, now)
