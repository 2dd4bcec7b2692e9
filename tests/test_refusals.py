"""A failure is told for what it is, and for no other: when the alert is lost, asked again."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import mtls_client as mtls
from mtls_client import Credential, Identity, Trust
from mtls_client._tls import keys
from mtls_client._tls.probe import probe
from mtls_client.testing import CA, Server
from tests.clients import KINDS, fetch, native_errors

all_kinds = pytest.mark.parametrize("kind", KINDS)


@contextmanager
def mute_server(identity: Identity, ca: CA, *, asks: bool) -> Iterator[tuple[str, list[int]]]:
    """A server that shakes hands and hangs up without an alert, as Node's do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    keys.present(context, identity)
    context.load_verify_locations(cadata=ca.pem.decode())
    context.verify_mode = ssl.CERT_OPTIONAL if asks else ssl.CERT_NONE
    accepted: list[int] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                plain, address = listener.accept()
            except OSError:
                return
            accepted.append(address[1])
            plain.settimeout(5)
            try:
                with context.wrap_socket(plain, server_side=True):
                    pass
            except OSError:
                plain.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"https://localhost:{listener.getsockname()[1]}", accepted
    finally:
        with socket.socket() as _:
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


@all_kinds
def test_a_server_that_asked_and_hung_up_has_probably_refused(
    kind: str, ca: CA, server_identity: Identity, identity: Identity, trust: Trust
) -> None:
    with mute_server(server_identity, ca, asks=True) as (url, _):
        with pytest.raises(mtls.IdentityRejectedError) as caught:
            fetch(kind, identity, url, trust=trust)
    assert (caught.value.reason, caught.value.certain) == ("unknown", False)
    assert isinstance(caught.value, native_errors(kind))


@all_kinds
def test_a_server_that_never_asked_has_refused_nobody(
    kind: str, ca: CA, server_identity: Identity, identity: Identity, trust: Trust
) -> None:
    with mute_server(server_identity, ca, asks=False) as (url, _):
        with pytest.raises(native_errors(kind)) as caught:
            fetch(kind, identity, url, trust=trust)
    assert not isinstance(caught.value, mtls.MTLSError)


@all_kinds
def test_an_error_that_was_being_handled_is_not_told_again(
    kind: str, server: Server, untrusted_identity: Identity, identity: Identity, trust: Trust
) -> None:
    """`except MTLSError: call(the_other_server)` is how people fall back."""
    with pytest.raises(native_errors(kind)) as caught:
        try:
            fetch(kind, untrusted_identity, server.url, trust=trust)
        except mtls.IdentityRejectedError:
            fetch(kind, identity, "https://localhost:1", trust=trust)
    assert not isinstance(caught.value, mtls.MTLSError)


def test_requests_that_fail_together_ask_once(
    ca: CA, server_identity: Identity, identity: Identity, trust: Trust
) -> None:
    with mute_server(server_identity, ca, asks=True) as (url, accepted):
        with mtls.Client(identity, trust=trust) as client:

            def call() -> None:
                with pytest.raises(mtls.IdentityRejectedError):
                    client.get(url)

            threads = [threading.Thread(target=call) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
    assert len(accepted) == 8 + 1


def test_an_answer_belongs_to_the_identity_that_was_refused(
    ca: CA, server_identity: Identity, identity: Identity, expired_identity: Identity, trust: Trust
) -> None:
    class Changing:
        current = expired_identity

        def load(self) -> Identity:
            return self.current

    source = Changing()
    credential = Credential(source, present_unusable=True)
    with mute_server(server_identity, ca, asks=True) as (url, _):
        with mtls.Client(credential, trust=trust) as client:
            with pytest.raises(mtls.IdentityRejectedError, match="CN=expired expired on"):
                client.get(url)
            source.current = identity
            credential.reload()
            with pytest.raises(mtls.IdentityRejectedError, match="CN=client, serial"):
                client.get(url)


def test_nothing_is_asked_of_somebody_else(
    ca: CA, server_identity: Identity, identity: Identity, trust: Trust, tmp_path: Any
) -> None:
    """A client bound to one address or to a Unix socket asks nobody at another one."""
    with mute_server(server_identity, ca, asks=True) as (url, accepted):
        transport = mtls.sessions.MTLSTransport(identity, trust=trust, local_address="127.0.0.1")
        import httpx

        with httpx.Client(transport=transport) as client:
            with pytest.raises(httpx.TransportError) as caught:
                client.get(url)
    assert not isinstance(caught.value, mtls.MTLSError)
    assert len(accepted) == 1


def test_a_probe_of_a_server_that_is_content_finds_nothing(
    server: Server, identity: Identity, trust: Trust
) -> None:
    context = mtls.MTLSContext(identity, trust=trust).inner_for("localhost")
    assert probe(context, "localhost", server.port, timeout=3) is None
    assert probe(context, "localhost", 1, timeout=3) is None


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_probe_finds_the_alert(
    version: ssl.TLSVersion,
    serve: Callable[..., Server],
    untrusted_identity: Identity,
    trust: Trust,
) -> None:
    server = serve(minimum_version=version, maximum_version=version)
    for offered, reason in ((untrusted_identity, "untrusted"), (None, "missing")):
        context = mtls.MTLSContext(offered, trust=trust).inner_for("localhost")
        answer = probe(context, "localhost", server.port, timeout=3)
        assert answer is not None
        assert (answer.reason, answer.certain) == (reason, True)


def test_a_session_cannot_be_set_on_a_connection(
    server: Server, identity: Identity, trust: Trust
) -> None:
    """A session of one name would resume under another without a check of the name."""
    context = mtls.MTLSContext(identity, trust=trust)
    with socket.create_connection(("localhost", server.port), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as first:
            kept = first.session
    with socket.create_connection(("localhost", server.port), timeout=10) as plain:
        with context.wrap_socket(
            plain, server_hostname="localhost", do_handshake_on_connect=False
        ) as second:
            with pytest.raises(mtls.ConfigurationError):
                second.session = kept
