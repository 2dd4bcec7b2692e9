"""How often a refusal is told for what it is: python -m benchmarks.certainty [CALLS [SERVER …]].

Real servers refuse one certificate after another; each call is made by a new client. Counted are
the calls whose diagnosis is certain and names the right reason.

* nginx refuses by a page, which `explain` reads. Under HTTP/2 it leaves the rest of a large body
  unread, and httpx, which waits to send it, never looks at the page, also without mtls-client:
  no call is made there.
* Node sends no alert for a certificate that it does not like: likely is all that can be had, and
  what is counted there is that the diagnosis says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ssl
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import trio

import mtls_client as mtls
from mtls_client.testing import CA
from tests.proxy import Proxy
from tests.servers import conftest as servers

BODY = b"x" * 4_000_000
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
KINDS = (
    "requests",
    "httpx",
    "httpx asyncio",
    "httpx trio",
    "asyncio, HTTP/2",
    "requests, proxy",
    "asyncio, proxy",
)
CERTIFICATES = {
    "none": "missing",
    "expired": "expired",
    "revoked": "revoked",
    "wrong-ca": "untrusted",
}
SERVERS = {
    "nginx": servers.serving_nginx,
    "Apache httpd": servers.serving_apache,
    "HAProxy": servers.serving_haproxy,
    "Caddy (Go)": servers.serving_caddy,
    "OpenSSL s_server": servers.serving_openssl,
    "Fastify (Node)": servers.serving_fastify,
}
STUCK = {("nginx", "POST", "asyncio, HTTP/2")}
WITHOUT_CRL = {"Caddy (Go)", "Fastify (Node)"}


class Cell(NamedTuple):
    """What is called, with what, and what the diagnosis must say."""

    server: str
    version: str
    method: str
    certificate: str

    @property
    def wanted(self) -> tuple[str, bool]:
        """The code and whether it is certain."""
        if self.certificate != "none":
            if self.server == "nginx":  # its page does not say which fault it was
                return "rejected_unknown", True
            if self.server == "Fastify (Node)":
                return "rejected_unknown", False
        return f"rejected_{CERTIFICATES[self.certificate]}", True


@contextlib.contextmanager
def pki() -> Iterator[servers.PKI]:
    ca, past = CA(), datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    server = ca.issue("server", dns=["localhost"], client=False, server=True)
    expired = ca.issue("expired", not_before=past, not_after=past + datetime.timedelta(days=30))
    stranger = CA("Other CA").issue("stranger")
    with servers.installed_pki(ca, ca.issue("client"), server, expired, stranger) as installed:
        yield installed


def explained(
    kind: str, cell: Cell, url: str, identity: Any, trust: mtls.Trust, proxy: str | None
) -> mtls.Explanation:
    """Make one call and explain what comes of it."""
    method, body = cell.method, BODY if cell.method == "POST" else None
    try:
        if kind.startswith("requests"):
            with mtls.Session(identity, trust=trust) as session:
                session.proxies = {"https": proxy} if proxy else {}
                return mtls.explain(session.request(method, url, data=body, timeout=30))
        options: dict[str, Any] = {"http2": "HTTP/2" in kind, "proxy": proxy, "timeout": 30}
        if kind == "httpx":
            with mtls.Client(identity, trust=trust, **options) as client:
                return mtls.explain(client.request(method, url, content=body))

        async def run() -> Any:
            async with mtls.AsyncClient(identity, trust=trust, **options) as client:
                return await client.request(method, url, content=body)

        return mtls.explain(trio.run(run) if "trio" in kind else asyncio.run(run()))
    except Exception as error:
        return mtls.explain(error)


def right(kind: str, cell: Cell, url: str, made: servers.PKI, calls: int) -> int:
    """Count the right diagnoses, and print the wrong ones."""
    version = VERSIONS[cell.version]
    trust = replace(made.trust, minimum_version=version, maximum_version=version)
    count = 0
    with contextlib.ExitStack() as stack:
        proxy = None
        if "proxy" in kind:
            proxy = stack.enter_context(Proxy(userinfo="scott:tiger")).url
        for _ in range(calls):
            identity = made.identities[cell.certificate]
            told = explained(kind, cell, url, identity, trust, proxy)
            if (told.code, told.certain) == cell.wanted:
                count += 1
            else:
                print(f"{kind}, {cell}: {told.code}: {told}", file=sys.stderr)
    return count


def cells(server: str) -> Iterator[tuple[str, str, list[Cell]]]:
    """Yield the rows of a server: version, method and a cell for each certificate."""
    refused = [one for one in CERTIFICATES if one != "revoked" or server not in WITHOUT_CRL]
    for version in VERSIONS:
        for method in ("GET", "POST"):
            yield version, method, [Cell(server, version, method, one) for one in refused]


def main(calls: str = "50", *names: str) -> int:
    print(f"Python {sys.version.split()[0]}, {ssl.OPENSSL_VERSION}, {calls} calls a cell\n")
    print("| server | TLS | | " + " | ".join(KINDS) + " |")
    print("|---|---|---|" + "---|" * len(KINDS))
    begun, wrong = time.monotonic(), 0
    with pki() as made:
        for server in [one for one in SERVERS if one.split()[0] in names or not names]:
            with SERVERS[server](made) as urls:
                for version, method, row in cells(server):
                    total, texts = int(calls) * len(row), []
                    for kind in KINDS:
                        if (server, method, kind) in STUCK:
                            texts.append("-")
                            continue
                        url = urls["required"]
                        count = sum(right(kind, one, url, made, int(calls)) for one in row)
                        texts.append(f"{count} / {total}")
                        wrong += total - count
                    what = "POST 4 MB" if method == "POST" else method
                    print(f"| {server} | {version} | {what} | {' | '.join(texts)} |", flush=True)
    print(f"\n{time.monotonic() - begun:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
