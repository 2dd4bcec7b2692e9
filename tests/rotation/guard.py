"""A server in a process of its own that can be told to refuse certificates, at once.

It refuses in the handshake, by a CRL, and on connections that are open already, with a 403. Run
as a module, it takes one JSON object a line on its standard input.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from cryptography import x509

import mtls_client as mtls
from mtls_client.testing import CA, Answer, Call, Server


class Guard:
    """Starts and stops the process; a context manager."""

    def __init__(self, folder: Path, ca: CA, identity: mtls.Identity) -> None:
        (folder / "ca.pem").write_bytes(ca.pem)
        identity.save_pem(folder / "server.pem", password=None)
        self._folder, self._ca = folder, ca

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.rotation.guard", str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = f"https://localhost:{int(self._process.stdout.readline())}"
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.kill()
        self._process.communicate(timeout=10)

    def refuse(self, identities: Iterable[mtls.Identity]) -> None:
        """Refuse certificates from now on, wherever they are presented."""
        revoked = list(identities)
        line = {
            "crl": self._ca.crl(revoked).decode(),
            "fingerprints": [identity.fingerprint for identity in revoked],
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"


def serve(folder: Path) -> None:
    refused: set[str | None] = set()

    def answer(call: Call) -> Answer:
        if call.fingerprint in refused:
            return Answer(status=403)
        return Answer(body=(call.fingerprint or "none").encode())

    issuer: Any = CA.__new__(CA)  # the server needs its certificate, not its key
    issuer.certificate = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    with Server(
        mtls.FileSource(folder / "server.pem").load(), client_ca=issuer, handler=answer
    ) as server:
        print(server.port, flush=True)
        for line in sys.stdin:
            told = json.loads(line)
            server.switch(issuer, told["crl"].encode())
            refused.update(told["fingerprints"])
            server.calls.clear()
            print("done", flush=True)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
