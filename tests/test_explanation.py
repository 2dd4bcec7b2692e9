"""Whatever a library raises, the explanation names the true cause, and nothing it must not name."""

from __future__ import annotations

import _ssl
import asyncio
import contextlib
import http.client
import pickle
import socket
import ssl
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import anyio
import httpx
import pytest
import requests
import trio
import urllib3
from requests.adapters import HTTPAdapter

import mtls_client as mtls
from mtls_client import Explanation, Identity, Trust, errors, explain
from mtls_client._tls import keys
from mtls_client.explanation import Whose, openssl
from mtls_client.testing import CA, Answer, Server
from tests.proxy import Proxy

SECRET = "hunter2-s3cret"
V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3

Call = Callable[[str, ssl.SSLContext], object]


class _Adapter(HTTPAdapter):
    """requests with a context that is ready."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__()

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any) -> Any:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {"ssl_context": self._context}


def by_requests(url: str, context: ssl.SSLContext) -> object:
    with requests.Session() as session:
        session.mount("https://", _Adapter(context))
        headers = {"Authorization": f"Bearer {SECRET}"}
        return session.get(f"{url}/?token={SECRET}", headers=headers, timeout=5)


def by_httpx(url: str, context: ssl.SSLContext) -> object:
    headers = {"Authorization": f"Bearer {SECRET}"}
    with httpx.Client(verify=context, headers=headers) as client:
        return client.get(f"{url}/?token={SECRET}")


async def _by_async_httpx(url: str, context: ssl.SSLContext) -> object:
    headers = {"Authorization": f"Bearer {SECRET}"}
    async with httpx.AsyncClient(verify=context, headers=headers) as client:
        return await client.get(f"{url}/?token={SECRET}")


async def _by_aiohttp(url: str, context: ssl.SSLContext) -> object:
    headers = {"Authorization": f"Bearer {SECRET}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.get(f"{url}/?token={SECRET}", ssl=context) as response:
            return await response.read()


async def _by_streams(url: str, context: ssl.SSLContext) -> object:
    host, _, port = url.removeprefix("https://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    try:
        writer.write(f"GET / HTTP/1.0\r\nAuthorization: Bearer {SECRET}\r\n\r\n".encode())
        return await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def by_http_client(url: str, context: ssl.SSLContext) -> object:
    with contextlib.closing(
        http.client.HTTPSConnection(url.removeprefix("https://"), context=context, timeout=5)
    ) as connection:
        connection.request("GET", "/", headers={"Authorization": f"Bearer {SECRET}"})
        return connection.getresponse().read()


def by_urllib3(url: str, context: ssl.SSLContext) -> object:
    with urllib3.PoolManager(ssl_context=context) as pools:
        return pools.request("GET", f"{url}/?token={SECRET}", retries=False).data


def by_urllib(url: str, context: ssl.SSLContext) -> object:
    with urllib.request.urlopen(f"{url}/?token={SECRET}", context=context, timeout=5) as response:
        return response.read()


CALLS: dict[str, Call] = {
    "requests": by_requests,
    "httpx": by_httpx,
    "httpx asyncio": lambda url, context: asyncio.run(_by_async_httpx(url, context)),
    "httpx trio": lambda url, context: trio.run(_by_async_httpx, url, context),
    "aiohttp": lambda url, context: asyncio.run(_by_aiohttp(url, context)),
    "asyncio": lambda url, context: asyncio.run(_by_streams(url, context)),
    "http.client": by_http_client,
    "urllib3": by_urllib3,
    "urllib": by_urllib,
}
every_library = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


def failure(call: Call, url: str, context: ssl.SSLContext) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 (each library has its own)
        call(url, context)
    return caught.value


def bare(ca: CA | None, identity: Identity | None = None) -> ssl.SSLContext:
    """A context without mtls-client."""
    context = ssl.create_default_context(cadata=ca.pem.decode() if ca else None)
    if identity is not None:
        keys.present(context, identity)
    return context


def checked(error: object) -> Explanation:
    """Explain, and check what holds for every explanation."""
    explanation = explain(error)
    text = str(explanation)
    assert SECRET not in text + repr(explanation)
    assert text.isprintable()
    assert explanation.why
    assert explanation.hint
    return explanation


# without mtls-client


@every_library
def test_an_alert_under_tls_1_2_is_told(
    call: Call, serve: Callable[..., Server], ca: CA, untrusted_identity: Identity
) -> None:
    server = serve(maximum_version=V12)
    told = checked(failure(call, server.url, bare(ca, untrusted_identity)))
    assert (told.whose, told.code, told.certain) == (Whose.OURS, "rejected_untrusted", True)
    assert "alert unknown_ca" in told.why


@every_library
def test_the_alert_of_tls_1_2_for_no_certificate_is_not_certain(
    call: Call, serve: Callable[..., Server], ca: CA
) -> None:
    server = serve(maximum_version=V12)
    told = checked(failure(call, server.url, bare(ca)))
    assert (told.whose, told.code, told.certain) == (Whose.OURS, "rejected_missing", False)


@every_library
def test_a_late_alert_is_told_or_the_end_is_not_taken_for_certain(
    call: Call, server: Server, ca: CA
) -> None:
    """Libraries lose the alert of TLS 1.3 now and then."""
    told = checked(failure(call, server.url, bare(ca)))
    assert (told.whose, told.code, told.certain) in {
        (Whose.OURS, "rejected_missing", True),
        (Whose.UNKNOWN, "ended", False),
    }


@every_library
def test_a_server_of_an_unknown_ca_is_theirs(call: Call, server: Server, other_ca: CA) -> None:
    told = checked(failure(call, server.url, bare(other_ca)))
    assert (told.whose, told.code, told.certain) == (Whose.THEIRS, "server_untrusted", True)


@every_library
def test_a_server_of_another_name_is_theirs(
    call: Call, ca: CA, other_ca: CA, identity: Identity
) -> None:
    elsewhere = ca.issue("elsewhere", dns=["elsewhere.example"], client=False, server=True)
    with Server(elsewhere, client_ca=ca) as server:
        told = checked(failure(call, server.url, bare(ca, identity)))
    assert (told.whose, told.code, told.certain) == (Whose.THEIRS, "server_hostname", True)


@every_library
def test_nobody_listens(call: Call, ca: CA) -> None:
    told = checked(failure(call, "https://localhost:1", bare(ca)))
    assert (told.whose, told.code, told.certain) == (Whose.NETWORK, "connect", True)


@every_library
def test_a_name_that_is_none(call: Call, ca: CA) -> None:
    told = checked(failure(call, "https://no-such-host.invalid:443", bare(ca)))
    assert (told.whose, told.code, told.certain) == (Whose.NETWORK, "name", True)


@pytest.fixture
def plain_server() -> Iterator[str]:
    """A server that answers in plain HTTP, whatever it is asked."""

    async def main(*, task_status: Any) -> None:
        async def answer(reader: Any, writer: Any) -> None:
            await reader.read(100)
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            task_status.started(server.sockets[0].getsockname()[1])
            await server.serve_forever()

    with anyio.from_thread.start_blocking_portal() as portal:
        serving, port = portal.start_task(main)
        yield f"https://localhost:{port}"
        serving.cancel()


@every_library
def test_a_port_without_tls(call: Call, ca: CA, plain_server: str) -> None:
    told = checked(failure(call, plain_server, bare(ca)))
    assert (told.whose, told.code, told.certain) == (Whose.SETTINGS, "not_tls", True)


async def _aiohttp_through(url: str, proxy: str) -> object:
    async with aiohttp.ClientSession() as session, session.get(url, proxy=proxy) as response:
        return response.status


@pytest.mark.parametrize(
    "call",
    [
        lambda url, proxy: requests.get(url, proxies={"https": proxy}, timeout=5),
        lambda url, proxy: httpx.get(url, proxy=proxy),
        lambda url, proxy: urllib3.ProxyManager(proxy, retries=False).request("GET", url),
        lambda url, proxy: asyncio.run(_aiohttp_through(url, proxy)),
    ],
    ids=["requests", "httpx", "urllib3", "aiohttp"],
)
def test_a_proxy_that_will_not_go_there(call: Callable[[str, str], object]) -> None:
    with Proxy(userinfo=f"scott:{SECRET}") as proxy:
        closed = proxy.url.replace(SECRET, "lion")
        with pytest.raises(Exception) as caught:  # noqa: PT011
            call("https://localhost:1", closed)
    told = checked(caught.value)
    assert (told.whose, told.code, told.certain) == (Whose.NETWORK, "proxy", True)
    assert "lion" not in str(told)


@pytest.fixture
def silent_server() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"https://localhost:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    "call",
    [
        lambda url: requests.get(url, timeout=0.1),
        lambda url: httpx.get(url, timeout=0.1),
        lambda url: urllib3.PoolManager(timeout=0.1, retries=False).request("GET", url),
        lambda url: urllib.request.urlopen(url, timeout=0.1),
    ],
    ids=["requests", "httpx", "urllib3", "urllib"],
)
def test_a_server_that_is_silent(call: Callable[[str], object], silent_server: str) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        call(silent_server)
    told = checked(caught.value)
    assert (told.whose, told.code) == (Whose.NETWORK, "timeout")


def test_a_mistake_in_the_files_is_told_for_what_it_is(
    tmp_path: Any, identity: Identity, untrusted_identity: Identity
) -> None:
    context = ssl.create_default_context()
    (tmp_path / "client.pem").write_bytes(identity.certificate_pem())
    (tmp_path / "other.key").write_bytes(untrusted_identity.private_key_pem())
    (tmp_path / "client.p12").write_bytes(b"\x30\x82\x01\x00")
    for arguments, code in (
        ((tmp_path / "client.pem", tmp_path / "other.key"), "key_mismatch"),
        ((tmp_path / "client.p12",), "identity_format"),
        ((tmp_path / "missing.pem",), "file_not_found"),
    ):
        with pytest.raises((ssl.SSLError, FileNotFoundError)) as caught:
            context.load_cert_chain(*arguments)
        assert checked(caught.value).code == code


# with mtls-client below


@every_library
def test_our_own_error_is_found_in_any_library(
    call: Call, serve: Callable[..., Server], untrusted_identity: Identity, trust: Trust
) -> None:
    server = serve(maximum_version=V12)
    told = checked(failure(call, server.url, mtls.MTLSContext(untrusted_identity, trust=trust)))
    assert (told.whose, told.code, told.certain) == (Whose.OURS, "rejected_untrusted", True)
    assert "CN=stranger was issued by" in told.why


@every_library
def test_our_verdict_on_the_server_is_found_in_any_library(
    call: Call, server: Server, ca: CA, identity: Identity
) -> None:
    pinned = Trust.from_pem(ca.pem, pins=[identity.pin])
    told = checked(failure(call, server.url, mtls.MTLSContext(identity, trust=pinned)))
    assert (told.whose, told.code, told.certain) == (Whose.THEIRS, "pin_mismatch", True)


@pytest.mark.parametrize(
    ("error", "whose"),
    [
        (errors.ConfigurationError("contradictory"), Whose.SETTINGS),
        (errors.PasswordError("the password is wrong"), Whose.OURS),
        (errors.RenewalError("the issuer is away"), Whose.OURS),
        (errors.RevokedError("revoked"), Whose.THEIRS),
    ],
)
def test_our_errors_are_told_by_blame(error: errors.MTLSError, whose: Whose) -> None:
    told = checked(error)
    assert (told.whose, told.why, told.code) == (whose, str(error.args[0]), error.code)


# however they were wrapped


@pytest.mark.parametrize("kind", ["requests", "httpx"])
def test_a_pickled_error_is_told_alike(
    kind: str,
    serve: Callable[..., Server],
    ca: CA,
    untrusted_identity: Identity,
    trust: Trust,
) -> None:
    """Causes do not travel: of a bare error its words are left."""
    server = serve(maximum_version=V12)
    session: Any = mtls.Session if kind == "requests" else mtls.Client
    with session(untrusted_identity, trust=trust) as client:
        with pytest.raises(mtls.IdentityRejectedError) as caught:
            client.get(server.url)
    for error in (caught.value, failure(CALLS[kind], server.url, bare(ca, untrusted_identity))):
        told = checked(pickle.loads(pickle.dumps(error)))
        assert (told.code, told.certain) == ("rejected_untrusted", True)


def test_a_pickled_verdict_is_told_alike(server: Server, other_ca: CA) -> None:
    error = failure(by_httpx, server.url, bare(other_ca))
    revived = pickle.loads(pickle.dumps(error))
    assert revived.__cause__ is None
    assert checked(revived).code == checked(error).code == "server_untrusted"


def test_exception_groups_are_looked_into(server: Server, other_ca: CA, ca: CA) -> None:
    async def calls() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(_by_async_httpx, server.url, bare(other_ca))

    for run in (lambda: asyncio.run(calls()), lambda: trio.run(calls)):
        with pytest.raises(ExceptionGroup) as caught:
            run()
        assert checked(caught.value).code == "server_untrusted"
    told = None
    try:
        asyncio.run(calls())
    except* httpx.ConnectError as group:
        told = explain(group)
    assert told is not None
    assert told.code == "server_untrusted"


def test_a_cycle_ends() -> None:
    first, second = ValueError("first"), KeyError("second")
    first.__context__, second.__context__ = second, first
    first.args = (second, first)
    assert checked(first).code == "unexplained"
    second.args = (errors.PasswordError("the password is wrong"),)
    assert checked(first).code == "password"


def test_what_was_being_handled_is_not_blamed(
    serve: Callable[..., Server], untrusted_identity: Identity, trust: Trust, ca: CA
) -> None:
    """`except MTLSError: call(the_other_server)` is how people fall back."""
    server = serve(maximum_version=V12)
    context = mtls.MTLSContext(untrusted_identity, trust=trust)
    for call in CALLS.values():
        with pytest.raises(Exception) as caught:  # noqa: PT011
            try:
                call(server.url, context)
            except Exception:
                call("https://localhost:1", bare(ca))
        assert checked(caught.value).code == "connect"


def test_a_context_is_better_than_nothing() -> None:
    with pytest.raises(RuntimeError) as caught:
        try:
            raise errors.PasswordError("the password is wrong")
        except errors.PasswordError:
            raise RuntimeError("no report today")  # noqa: B904
    assert checked(caught.value).code == "password"


# strangers


class _Hostile(Exception):
    """Raises and invents wherever it is touched."""

    def __str__(self) -> str:
        raise RuntimeError(SECRET)

    def __getattribute__(self, name: str) -> Any:
        if name == "reason":
            return _Hostile()
        if name in ("host", "request", "response", "status", "status_code", "pool"):
            raise RuntimeError(SECRET)
        return super().__getattribute__(name)


@pytest.mark.parametrize(
    "thing",
    [
        _Hostile(),
        None,
        42,
        SECRET,
        object(),
        Exception(SECRET),
        KeyError(SECRET),
        ssl.SSLError(1, f"[SSL: {SECRET}] {SECRET}"),
        OSError(SECRET),
        requests.exceptions.ConnectionError(f"https://user:{SECRET}@localhost/"),
        KeyboardInterrupt(),
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_a_stranger_is_not_explained_and_not_quoted(thing: object) -> None:
    told = checked(thing)
    assert (told.whose, told.certain) == (Whose.UNKNOWN, False)


def test_every_reason_of_openssl_has_an_explanation() -> None:
    # Python 3.11 knows all names of OpenSSL; the later ones keep them to themselves
    for reason in getattr(_ssl, "err_names_to_codes", openssl._MEANINGS):
        error = ssl.SSLError(1, f"[SSL: {reason.upper()}] words (_ssl.c:1)")
        assert checked(error).code != "unexplained"


@pytest.mark.parametrize("number", range(1, 100))
def test_every_verdict_of_openssl_has_an_explanation(number: int) -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = number, "words"
    told = checked(error)
    assert told.whose is Whose.THEIRS
    assert f"OpenSSL {number}: words" in told.why


# responses


class _Response:
    """What an HTTP library returns, with its body read."""

    def __init__(self, status: int, body: object, headers: Any = None) -> None:
        self.status_code, self._content = status, body
        self.headers = headers if headers is not None else {"server": "nginx/1.22.1"}


NGINX = b"<html><center>No required SSL certificate was sent</center></html>"


@pytest.mark.parametrize(
    ("status", "body", "code", "certain"),
    [
        (400, NGINX, "rejected_missing", True),
        (400, b"<center>The SSL certificate error</center>", "rejected_unknown", True),
        (495, b"", "rejected_unknown", True),
        (496, b"", "rejected_missing", True),
        (497, b"", "plain_http", True),
        (400, b"Client sent an HTTP request to an HTTPS server.\n", "plain_http", True),
        (403, b"HTTP Error 403.16 - Forbidden", "rejected_untrusted", True),
        (403, b"RBAC: access denied", "rejected_denied", False),
        (403, b"Request forbidden by administrative rules.", "rejected_unknown", False),
        (403, b'{"message":"User \\"system:anonymous\\" cannot list"}', "rejected_missing", False),
        (401, b'{"message":"Client certificate required"}', "rejected_missing", False),
        (401, b'{"message":"the TLS certificate has expired"}', "rejected_expired", False),
        (403, b'{"error":"CERT_HAS_EXPIRED"}', "rejected_expired", False),
        (401, b'{"message":"bad token"}', "http_denied", False),
        (403, b"", "http_denied", False),
        (500, NGINX, "http_error", False),
        (200, NGINX, "http_success", True),
    ],
)
def test_an_answer_is_told_by_status_and_words(
    status: int, body: bytes, code: str, certain: bool
) -> None:
    told = checked(_Response(status, body))
    assert (told.code, told.certain) == (code, certain)


@pytest.mark.parametrize(
    "body",
    [
        NGINX * 1_000_000,
        bytes(range(256)) * 1000,
        b"\x1b[2J\x1b]0;owned\x07" * 100,
        b"[" * 100_000,
        f'{{"message":"client certificate: \x1b[31m Bearer {SECRET}"}}'.encode(),
        SECRET,
        None,
        object(),
    ],
    ids=["huge", "binary", "ansi", "nested", "echo", "text", "none", "object"],
)
def test_a_hostile_answer_does_no_harm(body: object) -> None:
    headers = {"server": f"\x1b[31m{SECRET}", "authorization": SECRET}
    told = checked(_Response(403, body, headers))
    assert not told.certain


def test_hostile_headers_do_no_harm() -> None:
    class Headers:
        def get(self, _name: str) -> str:
            raise RuntimeError(SECRET)

    assert checked(_Response(400, NGINX, Headers())).code == "rejected_missing"


@pytest.fixture
def page(serve: Callable[..., Server]) -> Server:
    """A server that answers as nginx does."""
    return serve(
        client_certificate="optional", handler=lambda _call: Answer(status=400, body=NGINX)
    )


def test_a_response_of_each_library_is_told(page: Server, ca: CA) -> None:
    context = bare(ca)
    with requests.Session() as session:
        session.mount("https://", _Adapter(context))
        response: Any = session.get(page.url)
        assert checked(response).code == "rejected_missing"
        with pytest.raises(requests.HTTPError) as caught:
            response.raise_for_status()
        assert checked(caught.value).code == "rejected_missing"
    with httpx.Client(verify=context) as client:
        response = client.get(page.url)
        assert checked(response).code == "rejected_missing"
        with pytest.raises(httpx.HTTPStatusError) as raised:
            response.raise_for_status()
        assert checked(raised.value).code == "rejected_missing"
    with urllib3.PoolManager(ssl_context=context) as pools:
        assert checked(pools.request("GET", page.url)).code == "rejected_missing"

    async def aio() -> Explanation:
        async with aiohttp.ClientSession() as client, client.get(page.url, ssl=context) as answer:
            await answer.read()
            return checked(answer)

    assert asyncio.run(aio()).code == "rejected_missing"


def test_a_stream_that_was_not_read_stays_unread(page: Server, ca: CA) -> None:
    """The control: what was not read can be read after the explanation, to the last byte."""
    context = bare(ca)
    with requests.Session() as session:
        session.mount("https://", _Adapter(context))
        streamed: Any = session.get(page.url, stream=True)
        assert "read the body" in checked(streamed).hint
        assert streamed.content == NGINX
    with httpx.Client(verify=context) as client, client.stream("GET", page.url) as response:
        assert "read the body" in checked(response).hint
        assert response.read() == NGINX
    with urllib3.PoolManager(ssl_context=context) as pools:
        raw = pools.request("GET", page.url, preload_content=False)
        assert "read the body" in checked(raw).hint
        assert raw.read() == NGINX
        raw.release_conn()
    connection = http.client.HTTPSConnection("localhost", page.port, context=context)
    with contextlib.closing(connection):
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert "read the body" in checked(answer).hint
        assert answer.read() == NGINX

    async def aio() -> None:
        async with aiohttp.ClientSession() as client, client.get(page.url, ssl=context) as answer:
            assert "read the body" in checked(answer).hint
            assert await answer.read() == NGINX

    asyncio.run(aio())


# as text


def test_the_text_is_one_paragraph_that_says_whose_why_and_what_to_do() -> None:
    error = ssl.SSLError(1, "[SSL: SSLV3_ALERT_CERTIFICATE_EXPIRED] words (_ssl.c:1)")
    assert str(explain(error)) == (
        "Our certificate: the server refused our certificate (alert certificate_expired): it, or "
        "one of its issuers, has expired by the server's clock. What to do: renew the "
        "certificate; if it has not expired, check the clocks of both sides and the dates of its "
        "issuer. Seen: SSLV3_ALERT_CERTIFICATE_EXPIRED (ssl.SSLError)."
    )


def test_an_explanation_is_a_value() -> None:
    told = explain(errors.PasswordError("the password is wrong"))
    assert pickle.loads(pickle.dumps(told)) == told
    assert len({told, explain(errors.PasswordError("the password is wrong"))}) == 1
    with pytest.raises(AttributeError):
        told.why = "other"  # type: ignore[misc]
