"""Call an API many times at once with httpx: python examples/httpx_async.py URL CERT CA."""

from __future__ import annotations

import asyncio
import sys

import mtls_client as mtls


async def main(url: str, certificate: str, ca: str) -> None:
    source = mtls.FileSource(certificate)
    async with mtls.AsyncClient(source, trust=mtls.Trust.from_file(ca)) as client:
        responses = await asyncio.gather(*(client.get(url) for _ in range(10)))
    print({response.json()["subject"] for response in responses})


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
