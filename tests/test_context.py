"""An MTLSContext works under every library that takes an `ssl.SSLContext`, and stays as it is."""

from __future__ import annotations

import asyncio
import copy
import http.client
import pickle
import socket
import ssl
import threading
import urllib.request
from typing import Any

import aiohttp
import pytest
import urllib3

import mtls_client as mtls
from mtls_client import Credential, Identity, MTLSContext, Trust
from mtls_client._tls.sealed import SealedContext
from mtls_client._tls.sockets import CheckedObject, CheckedSocket
from mtls_client.events import Event, UnverifiedConnection
from mtls_client.testing import CA, Server
from mtls_client.trust import UnverifiedWarning


def with_http_client(context: MTLSContext, server: Server) -> bytes:
    connection = http.client.HTTPSConnection("localhost", server.port, context=context, timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read()
    finally:
        connection.close()


def with_urllib(context: MTLSContext, server: Server) -> bytes:
    with urllib.request.urlopen(server.url, context=context, timeout=10) as response:
        body: bytes = response.read()
        return body


def with_urllib3(context: MTLSContext, server: Server) -> bytes:
    with urllib3.PoolManager(ssl_context=context, retries=False, timeout=10) as pool:
        return pool.request("GET", server.url).data


def with_asyncio_streams(context: MTLSContext, server: Server) -> bytes:
    async def run() -> bytes:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("localhost", server.port, ssl=context)
            try:
                writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return (await reader.read()).partition(b"\r\n\r\n")[2]
            finally:
                writer.close()

    return asyncio.run(run())


def with_aiohttp(context: MTLSContext, server: Server) -> bytes:
    async def run() -> bytes:
        async with (
            asyncio.timeout(10),
            aiohttp.ClientSession() as session,
            session.get(server.url, ssl=context) as response,
        ):
            return await response.read()

    return asyncio.run(run())


LIBRARIES: list[Any] = [
    with_http_client,
    with_urllib,
    with_urllib3,
    with_asyncio_streams,
    with_aiohttp,
]
all_libraries = pytest.mark.parametrize("call", LIBRARIES)


def cause(error: BaseException) -> mtls.MTLSError | None:
    from mtls_client._tls.causes import buried

    return buried(error)


@all_libraries
def test_the_identity_is_presented(
    call: Any, server: Server, identity: Identity, trust: Trust
) -> None:
    assert b'"subject": "client"' in call(MTLSContext(identity, trust=trust), server)


@all_libraries
def test_a_wrong_pin_lets_no_request_out(
    call: Any, server: Server, identity: Identity, ca: CA
) -> None:
    context = MTLSContext(identity, trust=Trust.from_pem(ca.pem, pins=["00" * 32]))
    with pytest.raises((OSError, urllib3.exceptions.HTTPError, aiohttp.ClientError)) as caught:
        call(context, server)
    assert isinstance(cause(caught.value), mtls.PinMismatchError)
    assert server.calls == []


@all_libraries
def test_a_refusal_under_tls_1_2_is_explained(
    call: Any, serve: Any, untrusted_identity: Identity, trust: Trust
) -> None:
    server = serve(maximum_version=ssl.TLSVersion.TLSv1_2)
    with pytest.raises((OSError, urllib3.exceptions.HTTPError, aiohttp.ClientError)) as caught:
        call(MTLSContext(untrusted_identity, trust=trust), server)
    error = cause(caught.value)
    assert isinstance(error, mtls.IdentityRejectedError)
    assert (error.reason, error.certain) == ("untrusted", True)


@pytest.mark.parametrize("first", ["send", "sendall", "write", "recv", "read", "recv_into"])
def test_no_call_of_a_socket_skips_the_checks(
    first: str, server: Server, identity: Identity, ca: CA
) -> None:
    """OpenSSL shakes hands by itself at the first byte, and would skip an overridden handshake."""
    argument: Any = b"GET / HTTP/1.1\r\n" if "send" in first or first == "write" else 10
    if first == "recv_into":
        argument = bytearray(10)
    context = MTLSContext(identity, trust=Trust.from_pem(ca.pem, pins=["00" * 32]))
    with socket.create_connection(("localhost", server.port), timeout=10) as plain:
        lazy = context.wrap_socket(
            plain, server_hostname="localhost", do_handshake_on_connect=False
        )
        with lazy:
            for _ in range(2):  # a failed check fails again
                with pytest.raises(mtls.PinMismatchError):
                    getattr(lazy, first)(argument)
    assert server.calls == []


@pytest.mark.parametrize("first", ["write", "read"])
def test_no_call_of_an_object_skips_the_checks(
    first: str, server: Server, identity: Identity, ca: CA
) -> None:
    context = MTLSContext(identity, trust=Trust.from_pem(ca.pem, pins=["00" * 32]))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    argument: Any = b"GET / HTTP/1.1\r\n" if first == "write" else 10
    with socket.create_connection(("localhost", server.port), timeout=10) as plain:
        with pytest.raises(mtls.PinMismatchError):
            while True:
                try:
                    getattr(connection, first)(argument)
                except ssl.SSLWantReadError:
                    plain.sendall(outgoing.read())
                    incoming.write(plain.recv(65536))
    assert server.calls == []


def test_our_certificate_stays_here_when_an_async_pin_check_fails(
    server: Server, identity: Identity, ca: CA
) -> None:
    """Under TLS 1.3 an SSLObject's last flight is still in the buffer when the pins are checked."""
    context = MTLSContext(identity, trust=Trust.from_pem(ca.pem, pins=["00" * 32]))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    sent = 0
    with socket.create_connection(("localhost", server.port), timeout=10) as plain:
        with pytest.raises(mtls.PinMismatchError):
            while True:
                try:
                    connection.do_handshake()
                except ssl.SSLWantReadError:
                    flight = outgoing.read()
                    sent += len(flight)
                    plain.sendall(flight)
                    incoming.write(plain.recv(65536))
    assert 0 < sent < 1000
    assert outgoing.pending > len(identity.certificate_pem()) // 2


def test_names_arrive_in_every_form(server: Server, identity: Identity, trust: Trust) -> None:
    context = MTLSContext(identity, trust=trust, hosts=["api.example.com"])
    for name in ("api.example.com", "API.example.com.", b"api.example.com"):
        with socket.create_connection(("localhost", server.port), timeout=10) as plain:
            with context.wrap_socket(plain, server_hostname=name) as connection:
                assert isinstance(connection, CheckedSocket)
                connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert connection.recv(12) == b"HTTP/1.1 200"
    assert [call.subject for call in server.calls] == ["client"] * 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("verify_mode", ssl.CERT_NONE),
        ("check_hostname", False),
        ("hostname_checks_common_name", True),
        ("verify_flags", ssl.VerifyFlags.VERIFY_DEFAULT),
        ("minimum_version", ssl.TLSVersion.TLSv1),
        ("maximum_version", ssl.TLSVersion.TLSv1_2),
        ("options", 0),
        ("post_handshake_auth", False),
        ("keylog_filename", "/tmp/keys"),
        ("sni_callback", print),
        ("_msg_callback", print),
    ],
)
def test_an_attribute_can_be_read_and_written_back_but_not_changed(
    name: str, value: Any, identity: Identity
) -> None:
    context = MTLSContext(identity)
    before = getattr(context, name)
    setattr(context, name, before)
    with pytest.raises(mtls.ConfigurationError) as caught:
        setattr(context, name, value)
    assert caught.value.code == "context_fixed"
    assert caught.value.hint
    assert getattr(context, name) == before


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("load_cert_chain", ("client.pem",)),
        ("set_ciphers", ("ALL",)),
        ("set_ecdh_curve", ("prime256v1",)),
        ("load_dh_params", ("dh.pem",)),
        ("set_servername_callback", (None,)),
    ],
)
def test_a_method_that_would_change_a_context_in_use_is_refused(
    name: str, arguments: Any, identity: Identity
) -> None:
    with pytest.raises(mtls.ConfigurationError) as caught:
        getattr(MTLSContext(identity), name)(*arguments)
    assert caught.value.code == "context_fixed"


def test_every_attribute_of_ssl_context_is_decided_about() -> None:
    """A Python that adds a way to change a context fails here until somebody has thought of it."""
    inherited = {
        "keylog_file",
        "num_tickets",  # servers only
        "protocol",  # read-only
        "security_level",  # read-only
        "session_stats",  # of a context that never connects: all zero
        "sslobject_class",  # the facade never makes connections itself
        "sslsocket_class",
        "_wrap_bio",  # on the bare facade, which trusts nobody: fails closed
        "_wrap_socket",
        "_encode_hostname",
        "_host_flags",  # of the bare facade
        "_load_windows_store_certs",
        "_set_alpn_protocols",
        "_windows_cert_stores",
    }
    names = {
        name
        for kind in ssl.SSLContext.__mro__[:-1]
        for name in vars(kind)
        if not name.startswith("__")
    }
    undecided = names - set(vars(MTLSContext)) - set(vars(SealedContext)) - inherited
    assert undecided == set()


def test_the_context_of_a_connection_is_sealed(
    server: Server, identity: Identity, trust: Trust
) -> None:
    """It is shared: a library that changes it would change every other connection's."""
    context = MTLSContext(identity, trust=trust)
    with socket.create_connection(("localhost", server.port), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as connection:
            inner = connection.context
            with pytest.raises(mtls.ConfigurationError):
                inner.check_hostname = False
            with pytest.raises(mtls.ConfigurationError):
                inner.verify_mode = ssl.CERT_NONE
            with pytest.raises(mtls.ConfigurationError):
                inner.load_verify_locations("ca.pem")
            with pytest.raises(mtls.ConfigurationError):
                inner.load_cert_chain("client.pem")
            assert inner.verify_mode is ssl.CERT_REQUIRED


def test_a_library_that_goes_round_the_facade_fails_closed(
    server: Server, identity: Identity, trust: Trust
) -> None:
    context = MTLSContext(identity, trust=trust)
    with socket.create_connection(("localhost", server.port), timeout=10) as plain:
        with pytest.raises(ssl.SSLCertVerificationError):
            ssl.SSLContext.wrap_socket(context, plain, server_hostname="localhost")


def test_roots_poured_into_the_context_are_not_trusted(
    server: Server, identity: Identity, ca: CA, other_ca: CA, tmp_path: Any
) -> None:
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    context = MTLSContext(identity, trust=Trust.from_pem(other_ca.pem))
    context.load_verify_locations(cafile=str(tmp_path / "ca.pem"))
    context.load_verify_locations(cadata=ca.pem.decode())
    context.load_default_certs()
    context.set_default_verify_paths()
    assert len(context.get_ca_certs()) == context.cert_store_stats()["x509_ca"] == 1
    with pytest.raises(mtls.UntrustedServerError):
        with_http_client(context, server)


def test_a_server_side_connection_and_a_foreign_session_are_refused(identity: Identity) -> None:
    context = MTLSContext(identity)
    bio = ssl.MemoryBIO()
    with pytest.raises(mtls.ConfigurationError, match="clients only"):
        context.wrap_bio(bio, bio, server_side=True)
    with pytest.raises(mtls.ConfigurationError, match="skip the checks"):
        context.wrap_bio(bio, bio, server_hostname="localhost", session=object())  # type: ignore[arg-type]


def test_the_same_rules_hold_on_every_python(identity: Identity, trust: Trust) -> None:
    context = MTLSContext(identity, trust=trust)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname is True
    assert context.hostname_checks_common_name is False
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    strict = ssl.VerifyFlags.VERIFY_X509_STRICT
    assert context.verify_flags & strict
    assert context.verify_flags & ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN


def test_an_intermediate_can_be_the_root(server_identity: Identity, ca: CA) -> None:
    middle = ca.intermediate()
    leaf = middle.issue("server", dns=["localhost"], client=False, server=True)
    with Server(leaf, client_ca=ca) as server:
        for pem in (
            ca.pem,
            middle.certificate.public_bytes(
                __import__("cryptography").hazmat.primitives.serialization.Encoding.PEM
            ),
        ):
            context = MTLSContext(ca.issue(), trust=Trust.from_pem(pem))
            assert b"client" in with_http_client(context, server)


def test_the_chain_is_presented_with_the_leaf(server_identity: Identity, ca: CA) -> None:
    """The server knows the root only; without the intermediate it could not verify us."""
    identity = ca.intermediate().issue("deep")
    bare = Identity.from_key_pair(identity.certificate, identity.private_key)
    with Server(server_identity, client_ca=ca, maximum_version=ssl.TLSVersion.TLSv1_2) as server:
        trust = Trust.from_pem(ca.pem)
        assert b'"deep"' in with_http_client(MTLSContext(identity, trust=trust), server)
        with pytest.raises(mtls.IdentityRejectedError):
            with_http_client(MTLSContext(bare, trust=trust), server)


@pytest.mark.parametrize("key", ["ec", "rsa", "ed25519"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_every_kind_of_key_authenticates(
    key: Any, version: Any, serve: Any, ca: CA, trust: Trust
) -> None:
    server = serve(minimum_version=version, maximum_version=version)
    identity = ca.issue("client", key=key)
    assert b"client" in with_http_client(MTLSContext(identity, trust=trust), server)


def test_a_weak_key_is_refused_before_the_first_connection(ca: CA) -> None:
    weak = ca.issue("weak", key="rsa", key_bits=1024)
    with pytest.raises(mtls.WeakIdentityError, match="1024 bits"):
        MTLSContext(weak)
    with pytest.raises(mtls.WeakIdentityError, match="OpenSSL refuses"):
        MTLSContext(Credential(weak, present_unusable=True))


def test_unverified_connections_are_announced(serve: Any, other_ca: CA, identity: Identity) -> None:
    events: list[Event] = []
    with pytest.warns(UnverifiedWarning):
        trust = Trust.dangerously_unverified()
    context = MTLSContext(identity, trust=trust, observers=[events.append])
    assert b"client" in with_http_client(context, serve())
    assert isinstance(events[0], UnverifiedConnection)


def test_alpn_changes_are_for_new_connections_and_equal_calls_cost_nothing(
    server: Server, identity: Identity, trust: Trust
) -> None:
    context = MTLSContext(identity, trust=trust, alpn=["http/1.1"])
    inner = context.inner_for("localhost")
    context.set_alpn_protocols(["http/1.1"])
    assert context.inner_for("localhost") is inner
    context.set_alpn_protocols(["h2"])
    assert context.inner_for("localhost") is not inner
    assert context.inner_for("localhost").alpn == ("h2",)


def test_many_threads_swap_and_connect_without_a_failure(
    server: Server, ca: CA, trust: Trust
) -> None:
    """A live context that is reloaded in place fails a fifth of these, or crashes."""
    identities = [ca.issue("a", key="ec"), ca.issue("b", key="rsa"), ca.issue("c", key="ed25519")]

    class Turning:
        turn = 0

        def load(self) -> Identity:
            self.turn += 1
            return identities[self.turn % 3]

    credential = Credential(Turning())
    context = MTLSContext(credential, trust=trust)
    failures: list[BaseException] = []
    stop = threading.Event()

    def connect() -> None:
        try:
            for _ in range(30):
                with_http_client(context, server)
        except BaseException as error:
            failures.append(error)

    def turn() -> None:
        while not stop.wait(0.005):
            credential.reload()

    threads = [threading.Thread(target=connect) for _ in range(6)]
    turning = threading.Thread(target=turn)
    turning.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    stop.set()
    turning.join(10)
    assert failures == []
    assert credential.generation > 3
    assert {call.subject for call in server.calls} == {"a", "b", "c"}


def test_a_context_says_what_it_is_and_holds_its_key_back(identity: Identity) -> None:
    context = MTLSContext(identity, hosts=["api.example.com"])
    assert "api.example.com" in repr(context)
    assert "PRIVATE" not in repr(context)
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(mtls.ConfigurationError):
            attempt(context)


def test_wrong_arguments_are_told_at_once(identity: Identity) -> None:
    wrong: Any
    for wrong in ("ca.pem", True, ssl.create_default_context()):
        with pytest.raises(mtls.ConfigurationError, match="trust is a"):
            MTLSContext(identity, trust=wrong)
    for wrong in ("client.pem", 3, object()):
        with pytest.raises(mtls.ConfigurationError, match="not a source"):
            MTLSContext(wrong)
    with pytest.raises(mtls.ConfigurationError, match="one text"):
        MTLSContext(identity, hosts="api.example.com")
    with pytest.raises(mtls.ConfigurationError, match="mapping"):
        MTLSContext({"a.example": identity}, hosts=["a.example"])


def test_contexts_with_equal_roots_parse_them_once(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mtls_client._tls import anchors

    loads: list[Any] = []
    load = anchors._load
    monkeypatch.setattr(anchors, "_load", lambda *args: (loads.append(args), load(*args)))
    roots = CA("Shared CA").pem
    versions: list[Any] = ["1.2", "1.3"]
    trusts = [Trust.from_pem(roots, minimum_version=version) for version in versions]
    kept = [MTLSContext(None, trust=trust) for trust in trusts]
    assert len(loads) == 1
    assert [len(context.get_ca_certs()) for context in kept] == [1, 1]
    for number in range(8):  # others that are more recent
        MTLSContext(None, trust=Trust.from_pem(CA(f"CA {number}").pem))
    assert len(kept[0].get_ca_certs()) == 1
    MTLSContext(None, trust=Trust.from_pem(roots, allow_legacy_ca=True))
    assert len(loads) == 10


def test_contexts_that_are_alike_share_what_never_changes(
    identity: Identity, ca: CA, trust: Trust
) -> None:
    seen: list[Event] = []

    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, event: Event) -> None:
            seen.append(event)

    def inner(credential: Any = identity, **options: Any) -> ssl.SSLContext:
        context = MTLSContext(credential, **{"trust": trust, **options})
        return kept.setdefault(len(kept), context).inner_for("localhost")

    kept: dict[int, MTLSContext] = {}
    first = inner()
    assert inner() is first
    assert inner(Credential(identity)) is first
    others = [
        inner(ca.issue("other")),
        inner(None),
        inner(trust=Trust.system()),
        inner(alpn=["h2"]),
        inner(hosts=["localhost"]),
        inner(observers=[print]),
        inner(observers=[Unhashable()]),
    ]
    assert len({id(one) for one in [first, *others]}) == 8


def test_a_store_that_cannot_be_shared_is_loaded_again(
    server: Server, identity: Identity, trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other Pythons, and other builds of OpenSSL, have no known layout."""
    from mtls_client._tls import anchors

    monkeypatch.setattr(anchors, "_set_store", lambda: None)
    kept = [MTLSContext(identity, trust=trust) for _ in range(2)]
    for context in kept:
        assert b"client" in with_http_client(context, server)


def test_objects_and_sockets_are_the_checked_kinds(identity: Identity) -> None:
    bio = ssl.MemoryBIO()
    connection = MTLSContext(identity).wrap_bio(bio, bio, server_hostname="localhost")
    assert isinstance(connection, CheckedObject)
