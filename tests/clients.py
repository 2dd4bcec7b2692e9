"""The three kinds of session behind one function, so that a guarantee is tested on all of them."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import requests
import trio

import mtls_client as mtls

KINDS = ["requests", "httpx", "asyncio", "trio"]


def fetch(
    kind: str,
    credential: Any,
    url: str,
    *,
    method: str = "GET",
    body: bytes | None = None,
    **options: Any,
) -> requests.Response | httpx.Response:
    """Make one request with a new session of a kind, redirects followed."""
    if kind == "requests":
        with mtls.Session(credential, **options) as session:
            return session.request(method, url, data=body, timeout=10)
    options.setdefault("follow_redirects", True)
    if kind == "httpx":
        with mtls.Client(credential, timeout=10, **options) as client:
            return client.request(method, url, content=body)

    async def run() -> httpx.Response:
        async with mtls.AsyncClient(credential, timeout=10, **options) as client:
            return await client.request(method, url, content=body)

    return asyncio.run(run()) if kind == "asyncio" else trio.run(run)


def native_errors(kind: str) -> tuple[type[Exception], ...]:
    """Return what users of the library catch."""
    if kind == "requests":
        return (requests.exceptions.ConnectionError,)
    return (httpx.TransportError,)
