"""ACME against pebble, Caddy and acme2certifier: what they issue is presented in a handshake."""

from __future__ import annotations

import base64
import datetime
import functools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from mtls_client import (
    ConfigurationError,
    Identity,
    MissingExtraError,
    RenewalError,
    RenewalRefusedError,
    Session,
    Trust,
)
from mtls_client.identity import IdentityWarning
from mtls_client.renewers import ACME, DNS, EAB, Challenge, Standalone, Webroot
from mtls_client.renewers.base import Renewer, Scheduling
from mtls_client.testing import CA, Server
from tests.renewers.acme_servers import (
    EAB_KEY,
    EAB_KID,
    ACMEServer,
    Names,
    acme2certifier,
    caddy,
    name_server,
    pebble,
    relay,
)
from tests.servers.processes import free_port

Folders = pytest.TempPathFactory


@pytest.fixture(scope="session")
def names() -> Iterator[Names]:
    with name_server() as running:
        yield running


@pytest.fixture(scope="session")
def pebble_ca(
    tmp_path_factory: Folders, server_identity: Identity, names: Names
) -> Iterator[ACMEServer]:
    with pebble(tmp_path_factory.mktemp("pebble"), server_identity, names) as running:
        yield running


@pytest.fixture(scope="session")
def binding_ca(
    tmp_path_factory: Folders, server_identity: Identity, names: Names
) -> Iterator[ACMEServer]:
    """Pebble for customers only."""
    with pebble(tmp_path_factory.mktemp("eab"), server_identity, names, eab=True) as running:
        yield running


@pytest.fixture(scope="session")
def caddy_ca(
    tmp_path_factory: Folders, server_identity: Identity, names: Names
) -> Iterator[ACMEServer]:
    with caddy(tmp_path_factory.mktemp("caddy"), server_identity, names) as running:
        yield running


@pytest.fixture(scope="session")
def ari_ca(tmp_path_factory: Folders) -> Iterator[ACMEServer]:
    """acme2certifier, which says when to renew."""
    with acme2certifier(tmp_path_factory.mktemp("ari"), usage="clientAuth") as running:
        yield running


@pytest.fixture(scope="session")
def orders(ca: CA) -> Identity:
    return ca.issue("orders", dns=["orders.test"])


@pytest.fixture
def account_key(tmp_path: Path) -> Path:
    return tmp_path / "acme.key"


@pytest.fixture
def renewer(pebble_ca: ACMEServer, trust: Trust, account_key: Path) -> Callable[..., ACME]:
    """Make a renewer that works, with one thing different by keyword."""

    def make(url: str = pebble_ca.url, **options: object) -> ACME:
        usual = {
            "account_key": account_key,
            "solver": Standalone(pebble_ca.http_port, "127.0.0.1"),
            "agree_to_terms": True,
            "trust": trust,
            "timeout": 30.0,
        }
        return ACME(url, **{**usual, **options})  # type: ignore[arg-type]

    return make


def presented(
    identity: Identity, issuer: ACMEServer, server_identity: Identity, trust: Trust
) -> None:
    """Present an identity to a server that demands one of its issuer."""
    issuing = CA()
    issuing.certificate = x509.load_pem_x509_certificate(issuer.root)
    with Server(server_identity, client_ca=issuing) as server:
        with Session(identity, trust=trust) as session:
            seen = session.get(server.url).json()
    assert seen["fingerprint"] == identity.fingerprint


def posted(posts: list[tuple[str, bytes]], ending: str) -> list[tuple[dict, dict]]:
    """Return header and payload of the requests to a path."""

    def decoded(part: str) -> dict:
        return json.loads(base64.urlsafe_b64decode(part + "==") or b"{}")

    bodies = [json.loads(body) for path, body in posts if path.endswith(ending)]
    return [(decoded(one["protected"]), decoded(one["payload"])) for one in bodies]


def test_it_is_a_renewer_that_knows_when(renewer: Callable[..., ACME]) -> None:
    assert isinstance(renewer(), Renewer)
    assert isinstance(renewer(), Scheduling)


def test_pebble_validates_by_http(
    renewer: Callable[..., ACME],
    pebble_ca: ACMEServer,
    orders: Identity,
    server_identity: Identity,
    trust: Trust,
) -> None:
    """A strict server that refuses a twentieth of its nonces; the key is new, of the same kind."""
    renewed = renewer().renew(orders)
    assert renewed.san_dns == ("orders.test",)
    assert (renewed.key_type, renewed.key_bits) == ("EC", 256)
    assert renewed.pin != orders.pin
    presented(renewed, pebble_ca, server_identity, trust)


def test_the_port_is_free_again(
    renewer: Callable[..., ACME], orders: Identity, pebble_ca: ACMEServer
) -> None:
    renewer().renew(orders)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{pebble_ca.http_port}/")


def test_an_ip_address_is_an_identifier(renewer: Callable[..., ACME], ca: CA) -> None:
    renewed = renewer().renew(ca.issue("node", ips=["127.0.0.1"]))
    names = renewed.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert [str(one) for one in names.value.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"key": "rsa"}, ("RSA", 2048)), ({"key": "ec384"}, ("EC", 384))],
    ids=["rsa", "ec384"],
)
def test_the_key_may_be_of_another_kind(
    renewer: Callable[..., ACME], orders: Identity, options: dict, expected: tuple[str, int]
) -> None:
    renewed = renewer(**options).renew(orders)
    assert (renewed.key_type, renewed.key_bits) == expected


def test_the_key_may_be_kept(renewer: Callable[..., ACME], orders: Identity) -> None:
    assert renewer(reuse_key=True).renew(orders).pin == orders.pin


def test_an_expired_identity_is_renewed(renewer: Callable[..., ACME], ca: CA) -> None:
    past = datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC)
    expired = ca.issue("orders", dns=["orders.test"], not_after=past)
    assert renewer().renew(expired).expires_in() > datetime.timedelta()


def test_a_page_in_a_folder_is_enough_and_is_removed(
    renewer: Callable[..., ACME], orders: Identity, pebble_ca: ACMEServer, tmp_path: Path
) -> None:
    root = tmp_path / "www"
    root.mkdir()
    seen: list[str] = []

    class Pages(SimpleHTTPRequestHandler):
        def log_message(self, *_args: object) -> None:
            seen.append(self.path)

    address = ("127.0.0.1", pebble_ca.http_port)
    server = ThreadingHTTPServer(address, functools.partial(Pages, directory=str(root)))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        renewer(solver=Webroot(root)).renew(orders)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
    assert seen[0].startswith("/.well-known/acme-challenge/")
    assert [path for path in root.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("server", ["pebble_ca", "caddy_ca"])
def test_records_are_made_and_removed(
    server: str,
    request: pytest.FixtureRequest,
    renewer: Callable[..., ACME],
    ca: CA,
    names: Names,
    server_identity: Identity,
    trust: Trust,
) -> None:
    """A name and its wildcard are proved by two records of the same name."""
    made: list[tuple[str, str]] = []

    def add(name: str, value: str) -> None:
        made.append((name, value))
        names.add(name, value)

    both = ca.issue("shop", dns=["shop.test", "*.shop.test"])
    running: ACMEServer = request.getfixturevalue(server)
    renewed = renewer(running.url, solver=DNS(add, names.remove)).renew(both)
    assert sorted(renewed.san_dns) == ["*.shop.test", "shop.test"]
    assert {name for name, _ in made} == {"_acme-challenge.shop.test"}
    assert [len(base64.urlsafe_b64decode(value + "=")) for _, value in made] == [32, 32]
    assert names.texts["_acme-challenge.shop.test"] == []
    presented(renewed, running, server_identity, trust)


def test_a_record_with_another_value_proves_nothing(
    renewer: Callable[..., ACME], ca: CA, names: Names
) -> None:
    solver = DNS(
        lambda name, _: names.add(name, "A" * 43), lambda name, _: names.remove(name, "A" * 43)
    )
    with pytest.raises(RenewalError, match=r"to wrong\.test") as caught:
        renewer(solver=solver).renew(ca.issue("wrong", dns=["wrong.test"]))
    assert caught.value.code == "acme_unauthorized"
    assert names.texts["_acme-challenge.wrong.test"] == []


def test_a_page_that_is_not_there_may_be_there_later(
    renewer: Callable[..., ACME], orders: Identity
) -> None:
    """Nobody listens where the server looks: retryable, with the path in the hint."""
    with pytest.raises(RenewalError, match=r"to orders\.test: .*refused") as caught:
        renewer(solver=Standalone(free_port(), "127.0.0.1")).renew(orders)
    assert (caught.value.code, caught.value.retryable) == ("acme_connection", True)
    assert "http://orders.test/.well-known/acme-challenge/" in str(caught.value.hint)


def test_a_solver_that_fails_is_named_and_cleaned_up(
    renewer: Callable[..., ACME], orders: Identity
) -> None:
    removed: list[Challenge] = []

    class Broken:
        kind = "dns-01"

        def present(self, challenge: Challenge) -> None:
            raise OSError("the zone is locked")

        def remove(self, challenge: Challenge) -> None:
            removed.append(challenge)

    with pytest.raises(RenewalError, match=r"orders\.test: OSError: the zone is locked") as caught:
        renewer(solver=Broken()).renew(orders)
    assert (caught.value.code, caught.value.retryable) == ("acme_solver", True)
    assert [one.record for one in removed] == ["_acme-challenge.orders.test"]


def test_a_certificate_is_worth_more_than_a_tidy_zone(
    renewer: Callable[..., ACME],
    orders: Identity,
    names: Names,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def remove(name: str, value: str) -> None:
        names.remove(name, value)
        raise OSError("the zone is locked")

    assert renewer(solver=DNS(names.add, remove)).renew(orders).san_dns == ("orders.test",)
    assert "the dns-01 challenge of orders.test stays" in caplog.text


def test_a_wildcard_is_not_proved_by_http(renewer: Callable[..., ACME], ca: CA) -> None:
    with pytest.raises(RenewalRefusedError, match=r"does not accept http-01 for .*, but dns-01"):
        renewer().renew(ca.issue("all", dns=["*.all.test"]))


@pytest.mark.parametrize("options", [{}, {"uris": ["spiffe://x/orders"]}], ids=["cn", "uri"])
def test_a_name_that_acme_cannot_prove_is_an_error(
    renewer: Callable[..., ACME], ca: CA, options: dict
) -> None:
    with pytest.raises(RenewalRefusedError, match="no DNS name and no IP address"):
        renewer().renew(ca.issue("orders", **options))


def test_the_account_is_made_once(
    renewer: Callable[..., ACME], ari_ca: ACMEServer, orders: Identity, account_key: Path
) -> None:
    """A second renewer with the same file is the same account; the file is its owner's only."""
    with relay(ari_ca) as relayed:
        for _ in range(2):
            renewer(relayed.url, contact=["ops@example.com"]).renew(orders)
    accounts = {header["kid"] for header, _ in posted(relayed.posts, "/neworders")}
    payloads = [payload for _, payload in posted(relayed.posts, "/newaccount")]
    assert len(accounts) == 1
    assert payloads == [
        {"onlyReturnExisting": True},
        {"contact": ["mailto:ops@example.com"], "termsOfServiceAgreed": True},
        {"onlyReturnExisting": True},
    ]
    assert account_key.stat().st_mode & 0o777 == 0o600
    assert b"BEGIN PRIVATE KEY" in account_key.read_bytes()


def test_the_account_key_never_leaves(
    renewer: Callable[..., ACME], ari_ca: ACMEServer, orders: Identity, account_key: Path
) -> None:
    with relay(ari_ca) as relayed:
        renewer(relayed.url, contact=["ops@example.com"]).renew(orders)
    private = load_pem_private_key(account_key.read_bytes(), None)
    number = private.private_numbers().private_value.to_bytes(32, "big")  # type: ignore[union-attr]
    (header, _), *_ = posted(relayed.posts, "/newaccount")
    assert set(header["jwk"]) == {"kty", "crv", "x", "y"}
    secret = base64.urlsafe_b64encode(number).rstrip(b"=")
    for _, body in relayed.posts:
        sent = json.loads(body)
        parts = [base64.urlsafe_b64decode(sent[one] + "==") for one in ("protected", "payload")]
        assert all(secret not in part and number not in part for part in [body, *parts])


def test_two_processes_make_one_account_key(account_key: Path) -> None:
    code = (
        "import sys, pathlib; from mtls_client.renewers._acme_account import kept_key; "
        "k = kept_key(pathlib.Path(sys.argv[1])); print(k.private_numbers().private_value)"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(account_key)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    keys = {process.communicate(timeout=60)[0] for process in processes}
    assert len(keys) == 1
    assert keys != {""}


def test_an_account_key_that_others_may_read_is_told(
    renewer: Callable[..., ACME], orders: Identity, account_key: Path
) -> None:
    renewer().renew(orders)
    account_key.chmod(0o640)
    with pytest.warns(IdentityWarning, match="chmod 600"):
        renewer().renew(orders)


def test_a_file_that_is_no_account_key_is_left_alone(
    renewer: Callable[..., ACME], orders: Identity, account_key: Path
) -> None:
    account_key.write_text("my notes")
    with pytest.raises(ConfigurationError, match="no account key") as caught:
        renewer().renew(orders)
    assert account_key.read_text() == "my notes"
    assert "my notes" not in str(caught.value)


def test_a_folder_that_is_missing_is_named(
    renewer: Callable[..., ACME], orders: Identity, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="cannot be written"):
        renewer(account_key=tmp_path / "missing" / "acme.key").renew(orders)


def test_terms_are_agreed_to_by_a_person(renewer: Callable[..., ACME], orders: Identity) -> None:
    """Without a word nothing is agreed to, and the error says where the terms are."""
    with pytest.raises(RenewalRefusedError, match="terms of service") as caught:
        renewer(agree_to_terms=False).renew(orders)
    assert "data:text/plain,Do%20what%20thou%20wilt" in str(caught.value.hint)
    renewer().renew(orders)
    renewer(agree_to_terms=False).renew(orders)  # an account has agreed already


@pytest.fixture
def binding(renewer: Callable[..., ACME], binding_ca: ACMEServer) -> Callable[..., ACME]:
    solver = Standalone(binding_ca.http_port, "127.0.0.1")
    return functools.partial(renewer, binding_ca.url, solver=solver)


def test_a_binding_makes_an_account(
    binding: Callable[..., ACME], orders: Identity, tmp_path: Path
) -> None:
    """It comes from a file, and is not needed again."""
    secret = tmp_path / "hmac"
    secret.write_text(EAB_KEY + "\n")
    binding(eab=EAB(EAB_KID, secret)).renew(orders)
    binding().renew(orders)


@pytest.mark.parametrize(
    ("eab", "code"),
    [
        (None, "acme_external_account_required"),
        (EAB(EAB_KID, EAB_KEY[::-1]), "acme_unauthorized"),
        (EAB("kid-2", EAB_KEY), "acme_unauthorized"),
    ],
    ids=["missing", "wrong-key", "wrong-kid"],
)
def test_without_the_right_binding_there_is_no_account(
    binding: Callable[..., ACME], orders: Identity, eab: EAB | None, code: str
) -> None:
    with pytest.raises(RenewalRefusedError) as caught:
        binding(eab=eab).renew(orders)
    assert caught.value.code == code
    assert EAB_KEY not in str(caught.value) + repr(eab)


def test_a_binding_that_is_no_base64_is_not_shown(
    binding: Callable[..., ACME], orders: Identity
) -> None:
    with pytest.raises(ConfigurationError, match="not base64url") as caught:
        binding(eab=EAB(EAB_KID, lambda: "s3cret/key+")).renew(orders)
    assert "s3cret" not in str(caught.value)


def test_a_server_that_we_do_not_trust_gets_nothing(
    renewer: Callable[..., ACME], orders: Identity, other_ca: CA, account_key: Path
) -> None:
    one = renewer(trust=Trust.from_pem(other_ca.pem))
    with pytest.raises(RenewalRefusedError) as caught:
        one.renew(orders)
    assert caught.value.code == "server_untrusted"
    assert one.window(orders) is None


def test_a_wrong_url_says_that_it_must_be_the_directory(
    renewer: Callable[..., ACME], orders: Identity, pebble_ca: ACMEServer
) -> None:
    with pytest.raises(
        RenewalRefusedError, match=r"does not answer as ACME does \(HTTP 404\)"
    ) as caught:
        renewer(pebble_ca.url + "ectory").renew(orders)
    assert "the URL must be that of the directory" in str(caught.value.hint)


def test_a_server_that_is_down_is_asked_again(
    renewer: Callable[..., ACME], orders: Identity
) -> None:
    one = renewer(f"https://localhost:{free_port()}/dir")
    with pytest.raises(RenewalError) as caught:
        one.renew(orders)
    assert (caught.value.code, caught.value.retryable) == ("issuer_unreachable", True)
    assert one.window(orders) is None


def test_a_server_without_renewal_information_says_nothing(
    renewer: Callable[..., ACME], orders: Identity
) -> None:
    assert renewer().window(orders) is None


def test_the_window_is_the_servers(
    renewer: Callable[..., ACME],
    ari_ca: ACMEServer,
    orders: Identity,
    server_identity: Identity,
    trust: Trust,
) -> None:
    """The certificate is found by its identifier (RFC 9773 §4.1); the window lies in its life."""
    one = renewer(ari_ca.url, contact=["ops@example.com"])
    renewed = one.renew(orders)
    window = one.window(renewed)
    assert window is not None
    assert renewed.not_before < window.start < window.end <= renewed.not_after
    assert window.start.tzinfo is datetime.UTC
    assert window.retry_after >= 60
    assert one.window(orders) is None  # another CA's
    presented(renewed, ari_ca, server_identity, trust)


def test_an_order_names_what_it_replaces(
    renewer: Callable[..., ACME], ari_ca: ACMEServer, orders: Identity
) -> None:
    """As RFC 9773 §5 has it, where the server offers renewal information."""
    with relay(ari_ca) as relayed:
        one = renewer(relayed.url, contact=["ops@example.com"])
        one.renew(one.renew(orders))
    replaced = [payload["replaces"] for _, payload in posted(relayed.posts, "/neworders")]
    issuer = orders.certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    key = issuer.value.key_identifier or b""
    assert replaced[0].split(".")[0] == base64.urlsafe_b64encode(key).decode().rstrip("=")
    assert len(set(replaced)) == 2


def test_an_order_that_may_not_replace_is_placed_without(
    renewer: Callable[..., ACME], ari_ca: ACMEServer, orders: Identity
) -> None:
    """The first order here replaces what another CA issued, or an answer was lost."""
    refused: list[str] = []

    def change(path: str, body: bytes) -> httpx.Response | None:
        if not posted([(path, body)], "/neworders") or refused:
            return None
        refused.append(path)
        kind = "urn:ietf:params:acme:error:alreadyReplaced"
        return httpx.Response(409, json={"type": kind, "detail": "it has been replaced"})

    with relay(ari_ca, change) as relayed:
        renewer(relayed.url, contact=["ops@example.com"]).renew(orders)
    assert [("replaces" in one) for _, one in posted(relayed.posts, "/neworders")] == [True, False]


@pytest.fixture(scope="session")
def public_ca(tmp_path_factory: Folders) -> Iterator[ACMEServer]:
    """A server that issues for servers only, as public CAs do."""
    with acme2certifier(tmp_path_factory.mktemp("public"), usage="serverAuth") as running:
        yield running


def test_a_certificate_for_servers_is_refused(
    renewer: Callable[..., ACME], public_ca: ACMEServer, orders: Identity
) -> None:
    """The error says which CA it is, and that it will not change its mind."""
    with pytest.raises(RenewalRefusedError, match="issues for servers only") as caught:
        renewer(public_ca.url, contact=["ops@example.com"]).renew(orders)
    assert "CN=ACME CA" in str(caught.value)
    assert "clientAuth" in str(caught.value.hint)


def test_usages_are_asked_for(
    renewer: Callable[..., ACME], ari_ca: ACMEServer, orders: Identity
) -> None:
    """The request has the usages of the present certificate, and no name that is not proved."""
    with relay(ari_ca) as relayed:
        renewer(relayed.url, contact=["ops@example.com"]).renew(orders)
    requests = [
        payload["csr"]
        for path in {path for path, _ in relayed.posts}
        for _, payload in posted(relayed.posts, path)
        if "csr" in payload
    ]
    csr = x509.load_der_x509_csr(base64.urlsafe_b64decode(requests[0] + "=="))
    usage = csr.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert list(usage.value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert csr.subject == x509.Name([])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"url": "http://ca.example.com/dir"}, "not https"),
        ({"solver": object()}, "not a solver"),
        ({"solver": SimpleNamespace(kind="tls-alpn-01", present=print, remove=print)}, "http-01"),
        ({"account_key": 5}, "account key is neither"),
    ],
    ids=["plain-http", "solver", "kind", "account-key"],
)
def test_what_makes_no_sense_is_refused_at_once(
    renewer: Callable[..., ACME], options: dict, match: str
) -> None:
    with pytest.raises(ConfigurationError, match=match):
        renewer(**options)


def test_the_extra_is_named_at_once(
    renewer: Callable[..., ACME], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when the certificate is about to expire."""
    monkeypatch.setitem(sys.modules, "acme", None)
    with pytest.raises(MissingExtraError) as caught:
        renewer()
    assert "mtls-client[acme]" in str(caught.value.hint)


def test_a_key_may_be_given_as_an_object(renewer: Callable[..., ACME], ca: CA) -> None:
    """RSA keys sign, too."""
    key = ca.issue("account", key="rsa").private_key
    one = renewer(account_key=key)
    assert one.renew(ca.issue("orders", dns=["orders.test"])).san_dns == ("orders.test",)
