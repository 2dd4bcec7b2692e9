"""Calls to issuers: what is never sent, followed, waited for or repeated."""

from __future__ import annotations

import datetime
import email.utils
import gzip
import socket
import threading
from collections.abc import Callable, Iterator

import httpx
import pytest

from mtls_client import (
    ConfigurationError,
    Identity,
    RenewalError,
    RenewalRefusedError,
    Trust,
)
from mtls_client.renewers._http import Issuer, refusal, retry_after
from mtls_client.renewers._redaction import redacted
from mtls_client.testing import Answer, Call, Server
from tests.identity.secrecy import assert_silent

TOKEN = {"X-Token": "t0ken-t0ken"}


@pytest.fixture
def listening() -> Iterator[Callable[[bytes], str]]:
    """Listen for one connection, answer with the bytes and keep it open; return the address."""
    done = threading.Event()
    threads: list[threading.Thread] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def start(answer: bytes) -> str:
        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)
                done.wait(60)

        threads.append(threading.Thread(target=serve, daemon=True))
        threads[-1].start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    done.set()
    listener.close()
    for thread in threads:
        thread.join(10)


def failed(issuer: Issuer, path: str = "x", **options: object) -> RenewalError:
    with issuer, pytest.raises(RenewalError) as caught:
        issuer.call("GET", path, headers=TOKEN, **options)  # type: ignore[arg-type]
    assert_silent(caught.value, *TOKEN.values())
    return caught.value


@pytest.mark.parametrize(
    "url",
    [
        "http://vault.example:8200",
        "http://127.0.0.1.example",
        "http://localhost.example",
        "http://10.0.0.1:8200",
        "http://[::2]",
        "ftp://localhost",
        "vault.example:8200",
        "//vault.example",
        "https://",
        "https://user:s3cret-word@vault.example",
        "http://s3cret-word@localhost",
        "https://vault.example:s3cret-word",
        "",
    ],
)
def test_a_url_that_no_secret_should_go_to_is_refused(url: str, trust: Trust) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Issuer(url, trust)
    assert caught.value.code == "issuer_url"
    assert_silent(caught.value, "s3cret-word")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8200", "http://[::1]", "http://localhost", "https://vault.example"]
)
def test_https_and_plain_http_to_this_machine_are_allowed(url: str, trust: Trust) -> None:
    with Issuer(url, trust) as issuer:
        assert issuer.host in url


def test_paths_are_relative_to_the_url(serve: Callable[..., Server], trust: Trust) -> None:
    server = serve(client_certificate="none")
    with Issuer(f"{server.url}/prefix", trust) as issuer:
        for path in ("a/b", "/a/b", f"{server.url}/prefix/a/b"):
            assert issuer.call("POST", path, json={}, headers=TOKEN).status_code == 200
    assert [call.path for call in server.calls] == ["/prefix/a/b"] * 3
    assert {call.headers["x-token"] for call in server.calls} == {"t0ken-t0ken"}


def test_another_origin_gets_nothing(serve: Callable[..., Server], trust: Trust) -> None:
    server, other = serve(client_certificate="none"), serve(client_certificate="none")
    error = failed(Issuer(server.url, trust), other.url)
    assert (error.code, error.retryable) == ("issuer_origin", False)
    assert other.calls == server.calls == []


def test_a_redirect_is_not_followed(redirecting: Server, trust: Trust) -> None:
    with Issuer(redirecting.url, trust) as issuer:
        answer = issuer.call("GET", f"/to?{redirecting.url}/elsewhere", headers=TOKEN)
    assert answer.status_code == 302
    assert len(redirecting.calls) == 1


def test_an_identity_is_presented_only_if_it_is_given(
    serve: Callable[..., Server], trust: Trust, identity: Identity
) -> None:
    server = serve(client_certificate="optional")
    for one in (None, identity):
        with Issuer(server.url, trust, identity=one) as issuer:
            issuer.call("GET", "x")
    assert [call.subject for call in server.calls] == [None, "client"]


def test_an_answer_as_large_as_it_may_be_and_larger(
    serve: Callable[..., Server], trust: Trust
) -> None:
    sizes = {"/fits": 2**20, "/large": 2**20 + 1}
    server = serve(
        client_certificate="none", handler=lambda call: Answer(body=bytes(sizes[call.path]))
    )
    with Issuer(server.url, trust) as issuer:
        assert len(issuer.call("GET", "fits").content) == 2**20
    error = failed(Issuer(server.url, trust), "large")
    assert (error.code, error.retryable) == ("issuer_answer", True)


def test_an_answer_cannot_grow_by_being_unpacked(
    serve: Callable[..., Server], trust: Trust
) -> None:
    packed = gzip.compress(bytes(2**26))

    def answer(call: Call) -> Answer:
        assert call.headers["accept-encoding"] == "identity"
        return Answer(headers={"Content-Encoding": "gzip"}, body=packed)

    with Issuer(serve(client_certificate="none", handler=answer).url, trust) as issuer:
        assert issuer.call("GET", "x").content == packed


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", "issuer_unreachable"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n12", "issuer_unreachable"),
        (b"SSH-2.0-OpenSSH\r\n", "issuer_unreachable"),
    ],
)
def test_a_server_that_does_not_go_on_is_not_waited_for(
    answer: bytes, code: str, trust: Trust, listening: Callable[[bytes], str]
) -> None:
    error = failed(Issuer(listening(answer), trust, timeout=0.3))
    assert (error.code, error.retryable) == (code, True)


def test_an_answer_that_comes_drop_by_drop_ends(
    serve: Callable[..., Server], trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each drop is in time, and all of them together are not; the clock is a mock."""
    server = serve(client_certificate="none", handler=lambda _: Answer(body=bytes(2**18)))
    with Issuer(server.url, trust, timeout=10) as issuer:
        assert issuer.call("GET", "x").status_code == 200
    now = iter(range(0, 10**6, 30))
    monkeypatch.setattr("mtls_client.renewers._http.time.monotonic", lambda: next(now))
    error = failed(Issuer(server.url, trust, timeout=10))
    assert (error.code, error.retryable) == ("issuer_answer", True)


def test_nobody_there(trust: Trust) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = failed(Issuer(f"https://localhost:{port}", trust))
    assert (error.code, error.retryable) == ("issuer_unreachable", True)
    assert f"localhost:{port}" in str(error)


def test_trust_decides(
    server: Server, trust: Trust, other_ca: object, serve: Callable[..., Server]
) -> None:
    """An issuer that we do not trust, and one that does not trust us, refuse for good."""
    stranger = Trust.from_pem(other_ca.pem)  # type: ignore[attr-defined]
    untrusted = failed(Issuer(server.url, stranger))
    assert isinstance(untrusted, RenewalRefusedError)
    assert untrusted.code == "server_untrusted"
    rejected = failed(Issuer(server.url, trust))
    assert isinstance(rejected, RenewalRefusedError)
    assert rejected.code == "identity_rejected"


@pytest.mark.parametrize("value", ["t0ken\r\nX-Evil: 1", "t0ken-\u00e9", "t0k\0en"])
def test_a_header_that_cannot_be_sent_is_not_quoted(
    value: str, serve: Callable[..., Server], trust: Trust
) -> None:
    server = serve(client_certificate="none")
    with Issuer(server.url, trust) as issuer, pytest.raises(ConfigurationError) as caught:
        issuer.call("GET", "x", headers={"X-Token": value})
    assert_silent(caught.value, value)
    assert server.calls == []


def test_plain_http_goes_through_no_proxy(
    listening: Callable[[bytes], str], trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy would read the token."""
    url = listening(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.setblocking(False)
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, address)
        with Issuer(url, trust, timeout=5) as issuer:
            assert issuer.call("GET", "x", headers=TOKEN).content == b"ok"
        with pytest.raises(BlockingIOError):
            proxy.accept()
        # a control: https goes through it
        with Issuer("https://vault.example", trust, timeout=0.2) as issuer:
            with pytest.raises(RenewalError):
                issuer.call("GET", "x")
        proxy.accept()[0].close()


class TestRefusal:
    @pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
    def test_what_passes_is_tried_again(self, status: int) -> None:
        error = refusal(httpx.Response(status, headers={"Retry-After": "7"}), "busy", hint="h")
        assert (error.retryable, error.retry_after, error.code) == (True, 7.0, "issuer_busy")

    @pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 412, 501])
    def test_what_does_not_pass_is_not(self, status: int) -> None:
        error = refusal(httpx.Response(status), "no", hint="h")
        assert isinstance(error, RenewalRefusedError)
        assert str(error) == f"no (HTTP {status})\n  hint: h"
        assert refusal(httpx.Response(status), "no", hint="h", passes=True).retryable

    def test_what_was_said_is_made_fit_for_a_log(self) -> None:
        said = "bad token t0ken-t0ken\n\x1b[2J hvs.CAESIJ0123456789abcdef"
        error = refusal(httpx.Response(400), said, hint="h", secrets=TOKEN.values())
        assert error.args[0] == "bad token … [2J … (HTTP 400)"


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            ("0", 0.0),
            ("120", 120.0),
            (" 3 ", 3.0),
            ("9" * 400, 86400.0),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
            ("Fri, 31 Dec 9999 23:59:59 GMT", 86400.0),
            ("Fri, 31 Dec 9999 23:59:59 -2359", 86400.0),
        ],
    )
    def test_a_number_or_a_date(self, value: str, seconds: float) -> None:
        assert retry_after(httpx.Response(503, headers={"Retry-After": value})) == seconds

    def test_a_date_is_counted_from_now(self) -> None:
        date = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=10)
        headers = {"Retry-After": email.utils.format_datetime(date, usegmt=True)}
        found = retry_after(httpx.Response(503, headers=headers))
        assert found is not None
        assert 540 < found <= 600

    @pytest.mark.parametrize(
        "value",
        [
            "",
            "-1",
            "1.5",
            "soon",
            "\u0663",
            "Mon, 99 Foo 2026",
            "Mon, 01 Jan 99999 00:00:00 GMT",
            "Mon, 01 Jan 2026 00:00:00 +9999999999",
        ],
    )
    def test_anything_else_is_none(self, value: str) -> None:
        headers = [(b"Retry-After", value.encode())]
        assert retry_after(httpx.Response(503, headers=headers)) is None

    def test_without_it_there_is_none(self) -> None:
        assert retry_after(httpx.Response(503)) is None


class TestRedaction:
    @pytest.mark.parametrize(
        "secret",
        [
            "-----BEGIN PRIVATE KEY-----\nQUJD\nREVG\n-----END PRIVATE KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----\nQUJD\nREVG",
            "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl",
            "hvs.CAESIJlmYWtlLXRva2VuLWZvci10ZXN0cw",
            "s.b8RudCKMem4r3uaFVyTozxv0",
            "b.AAAAAQIrz17G_sOpusuPSutxtIYgsmqHfej-",
            "A" * 80,
        ],
    )
    def test_what_looks_like_a_secret_is_left_out(self, secret: str) -> None:
        text = redacted(f"before {secret}")
        assert text == "before …"
        assert redacted(f"before {secret[:0]}after") == "before after"

    def test_the_end_of_a_key_is_left_out_too(self) -> None:
        assert redacted("REVG\nR0hJ\n-----END PRIVATE KEY-----\nbad key") == "… bad key"

    def test_credentials_in_urls_and_headers(self) -> None:
        assert redacted("GET https://me:pass@host/x") == "GET https://…host/x"
        assert redacted("Authorization: Bearer abcdefgh.ijk") == "Authorization: Bearer …"

    def test_what_a_person_needs_stays(self) -> None:
        told = f"role orders, serial {'1f' * 20}, sha256 {'0a' * 32}: permission denied"
        assert redacted(told) == told

    def test_given_secrets_are_left_out_longest_first(self) -> None:
        assert redacted(b"abcdefgh abcd xyz", ["abcd", b"abcdefgh", "xyz", ""]) == "… … xyz"

    def test_it_is_one_line_and_its_end_counts(self) -> None:
        text = redacted("first\n" + "x y " * 300 + "\r\n\x1b[31m\u202elast")
        assert len(text) == 400
        assert text.startswith("…")
        assert text.endswith("x y [31m last")

    @pytest.mark.parametrize(
        "piece", ["eyJ-", "-----BEGIN ", "s.A", "://a", "-----END ", "bearer a ", "eyJa.", "A"]
    )
    def test_a_hostile_text_takes_no_time_to_speak_of(self, piece: str) -> None:
        """A megabyte is done within the timeout of the test; quadratic work would take hours."""
        assert len(redacted(piece * (2**20 // len(piece)))) <= 400
