"""`mtls URL` does what curl does, says what went wrong, and gives no secret away."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtls_client import Identity
from mtls_client.testing import CA, Answer, Call, Server
from tests.cli.conftest import Run
from tests.components import require

GOOD = ("--cert", "client.pem", "--cacert", "ca.pem")


def test_the_body_goes_to_stdout_and_nothing_else(mtls: Run, server: Server) -> None:
    done = mtls(*GOOD, server.url)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["subject"] == "client"


@pytest.mark.parametrize("place", ["env:P", "file:secret.txt", "fd:0"])
@pytest.mark.parametrize("file", ["client.p12", "locked.pem"])
def test_a_password_comes_from_the_environment_a_file_or_a_descriptor(
    place: str, file: str, mtls: Run, server: Server, folder: Path
) -> None:
    (folder / "secret.txt").write_text("tops3cret\n")
    arguments = ("--cert", file, "--pass", place, "--cacert", "ca.pem", server.url)
    done = mtls(*arguments, stdin=b"tops3cret\n", P="tops3cret")
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cert", "client.p12", "--pass", "tops3cret"], b"seen by every user"),
        (["--cert", "client.pem:tops3cret"], b"seen by every user"),
        (["--cert", "client.p12", "--pass", "env:ABSENT"], b"no such variable"),
        (["--key", "client.pem"], b"go with --cert"),
        (["-k"], b"to whoever answers"),
        (["--tls-max", "1.1"], b"invalid value"),
        (["--tlsv1.2", "--tlsv1.3"], b"contradict"),
        (["--tlsv1.3", "--tls-max", "1.2"], b"below"),
        (["--pin", "sha256/short"], b"not a pin"),
        (["--no-such-option"], b"no such option"),
        (["-H", "nonsense"], b"not a header field"),
    ],
)
def test_usage_errors_say_what_to_write(
    arguments: list[str], words: bytes, mtls: Run, server: Server
) -> None:
    done = mtls(*arguments, server.url)
    assert (done.returncode, done.stdout) == (2, b"")
    assert words in done.stderr
    assert b"tops3cret" not in done.stderr
    assert b"Traceback" not in done.stderr
    assert server.calls == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--cacert", "ca.pem"], 98, b"demands a client certificate"),
        (["--cert", "stranger.pem", "--cacert", "ca.pem"], 58, b"alert unknown_ca"),
        (["--cert", "expired.pem", "--cacert", "ca.pem"], 58, b"expired on 2020-01-31"),
        (["--cert", "client.p12", "--cacert", "ca.pem"], 58, b"no password was given"),
        (["--cert", "ca.pem", "--cacert", "ca.pem"], 58, b"no private key"),
        (["--cert", "absent.pem", "--cacert", "ca.pem"], 58, b"no such file"),
        (["--cert", "client.pem"], 60, b"not trusted"),
        (["--cert", "client.pem", "--cacert", "absent.pem"], 77, b"absent.pem"),
        ([*GOOD, "--pin", "00" * 32], 90, b"none of the pinned keys"),
    ],
)
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_each_failure_has_its_exit_code_and_its_words(
    arguments: list[str], code: int, words: bytes, version: str, mtls: Run, server: Server
) -> None:
    done = mtls("--tls-max", version, *arguments, server.url)
    assert (done.returncode, done.stdout) == (code, b"")
    assert words in done.stderr
    assert b"hint: " in done.stderr
    assert b"Traceback" not in done.stderr


def test_failures_of_the_network_have_the_codes_of_curl(
    mtls: Run, serve: Callable[..., Server], folder: Path
) -> None:
    """Differential: the same arguments to curl."""
    curl = require("curl", "apt-get install curl")

    def answer(call: Call) -> Answer:
        if call.path == "/loop":
            return Answer(status=302, headers={"Location": "/loop"})
        if call.path == "/missing":
            return Answer(status=404, body=b"gone")
        if call.path == "/short":
            return Answer(headers={"Content-Length": "100"}, body=b"")
        return Answer(body=b"\0binary\xff")

    url = serve(handler=answer).url
    cases = [
        ["https://localhost:1/"],
        ["https://name.invalid/"],
        ["-f", f"{url}/missing"],
        ["--fail-with-body", f"{url}/missing"],
        [f"{url}/missing"],
        ["-L", "--max-redirs", "2", f"{url}/loop"],
        [f"{url}/loop"],
        [f"{url}/binary"],
        ["-o", "no/such/folder/file", f"{url}/binary"],
        ["-O", f"{url}/"],
        ["gopher3://localhost/"],
    ]
    for case in cases:
        theirs = subprocess.run(
            [curl, "-s", "--cert", "client.pem", "--cacert", "ca.pem", *case],
            cwd=folder,
            capture_output=True,
            timeout=30,
            env={"PATH": os.environ["PATH"]},
        )
        ours = mtls("-s", *GOOD, *case)
        expected = {"gopher3://localhost/": 3}.get(case[0], theirs.returncode)
        assert (case, ours.returncode, ours.stdout) == (case, expected, theirs.stdout)
        assert ours.stderr == b""


def test_requests_look_like_those_of_curl(mtls: Run, server: Server, folder: Path) -> None:
    """Differential: method, target, body and the header fields that options set."""
    curl = require("curl", "apt-get install curl")
    (folder / "form.txt").write_bytes(b"a=1\r\n&b=2\n")
    cases = [
        ["-X", "DELETE", "/orders/1"],
        ["-d", "a=1", "-d", "b=2", "/"],
        ["-d", "@form.txt", "/"],
        ["--data-binary", "@form.txt", "/"],
        ["--data-raw", "@form.txt", "/"],
        ["--json", '{"a": 1}', "/"],
        ["--json", "@form.txt", "/"],
        ["-G", "-d", "a=1", "-d", "b=2", "/?c=3"],
        ["-T", "form.txt", "/target"],
        ["-X", "PATCH", "-d", "x", "/"],
        ["-H", "X-One: 1", "-H", "X-Empty;", "-H", "Accept:", "/"],
        ["-A", "tester/1", "/"],
        ["-I", "/"],
    ]
    for *options, path in cases:
        subprocess.run(
            [curl, "-s", "--http1.1", *GOOD, *options, server.url + path],
            cwd=folder,
            capture_output=True,
            timeout=30,
            env={"PATH": os.environ["PATH"]},
        )
        mtls(*GOOD, *options, server.url + path)
        theirs, ours = server.calls[-2:]
        for name in ("method", "path", "body"):
            assert (options, getattr(ours, name)) == (options, getattr(theirs, name))
        for name in ("content-type", "accept", "x-one", "x-empty"):
            assert (options, name, ours.headers.get(name)) == (
                options,
                name,
                theirs.headers.get(name),
            )


def test_a_header_can_be_given_twice(mtls: Run, server: Server) -> None:
    done = mtls(*GOOD, "-v", "-H", "X-Two: 1", "-H", "X-Two: 2", server.url)
    assert done.stderr.count(b"> x-two: ") == 2


def test_the_body_arrives_as_it_was_sent(mtls: Run, serve: Callable[..., Server]) -> None:
    """curl asks for no compression, and undoes none that it did not ask for."""
    import gzip

    packed = gzip.compress(b"hello")
    server = serve(handler=lambda _call: Answer(headers={"Content-Encoding": "gzip"}, body=packed))
    assert mtls(*GOOD, server.url).stdout == packed
    assert "accept-encoding" not in server.calls[0].headers


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["https://a..b/"], 3),
        (["https://localhost:99999/"], 3),
        (["-x", "nonsense://", "https://localhost/"], 5),
        (["-x", "http://user:tops3cret@", "https://localhost/"], 5),
    ],
)
def test_nonsense_is_no_traceback(arguments: list[str], code: int, mtls: Run) -> None:
    done = mtls(*GOOD, *arguments)
    assert done.returncode == code
    assert done.stderr.startswith(b"mtls: (")
    assert b"tops3cret" not in done.stderr


def test_a_stream_cannot_be_sent_twice(
    mtls: Run, serve: Callable[..., Server], folder: Path
) -> None:
    def answer(call: Call) -> Answer:
        return Answer(status=307 if call.path == "/" else 200, headers={"Location": "/again"})

    (folder / "body").write_bytes(b"x" * 100_000)
    done = mtls(*GOOD, "-L", "-T", "body", f"{serve(handler=answer).url}/")
    assert done.returncode == 65
    assert b"read from a stream" in done.stderr


def test_data_that_cannot_be_read_is_not_sent_as_nothing(mtls: Run, server: Server) -> None:
    for option in (["-d", "@absent"], ["-T", "absent"], ["--json", "@absent"]):
        done = mtls(*GOOD, *option, server.url)
        assert done.returncode == 26
        assert b"absent cannot be read" in done.stderr
    assert server.calls == []


def test_data_can_come_from_standard_input(mtls: Run, server: Server) -> None:
    mtls(*GOOD, "-d", "@-", server.url, stdin=b"from stdin")
    mtls(*GOOD, "-T", "-", server.url, stdin=b"from stdin")
    assert [call.body for call in server.calls] == [b"from stdin"] * 2


def test_a_header_is_printed_on_request(mtls: Run, server: Server) -> None:
    for option in ("-i", "-I"):
        done = mtls(*GOOD, option, server.url)
        assert done.stdout.startswith(b"HTTP/1.1 200 OK\r\n")
    assert server.calls[-1].method == "HEAD"


def test_redirects_are_followed_on_request_and_lose_the_identity_abroad(
    mtls: Run, redirecting: Server, serve: Callable[..., Server]
) -> None:
    target = serve(client_certificate="optional")
    url = f"{redirecting.url}/to?{target.url}/"
    assert mtls(*GOOD, url).returncode == 0
    assert target.calls == []
    assert mtls(*GOOD, "-L", url).returncode == 0
    assert [call.subject for call in target.calls] == [None]


def test_a_url_without_scheme_is_https(mtls: Run, server: Server) -> None:
    assert mtls(*GOOD, f"localhost:{server.port}").returncode == 0


def test_http_is_warned_about(mtls: Run) -> None:
    done = mtls(*GOOD, "http://localhost:1/")
    assert done.returncode == 7
    assert b"nothing is encrypted and no certificate is presented" in done.stderr


def test_verbose_shows_the_handshake_and_hides_secrets(
    mtls: Run, server: Server, identity: Identity, server_identity: Identity
) -> None:
    done = mtls(*GOOD, "-v", "-H", "Authorization: Bearer tops3cret", server.url)
    shown = done.stderr.decode()
    assert done.returncode == 0
    assert identity.fingerprint in shown
    assert server_identity.pin in shown
    assert "TLSv1.3" in shown
    assert "> GET /" in shown
    assert "< HTTP/1.1 200 OK" in shown
    assert "> authorization: [hidden]" in shown
    assert "tops3cret" not in shown
    assert server.calls[0].headers["authorization"] == "Bearer tops3cret"


def test_silence_is_kept_unless_errors_are_wanted(mtls: Run, server: Server) -> None:
    assert mtls("-s", "--cacert", "ca.pem", server.url).stderr == b""
    assert b"client certificate" in mtls("-sS", "--cacert", "ca.pem", server.url).stderr


def test_a_file_appears_whole_or_not_at_all(
    mtls: Run, serve: Callable[..., Server], folder: Path
) -> None:
    def answer(call: Call) -> Answer:
        if call.path == "/short":
            return Answer(headers={"Transfer-Encoding": "chunked"}, body=b"5\r\nhello\r\n")
        return Answer(body=b"whole")

    url = serve(handler=answer).url
    (folder / "kept").write_text("before")
    before = sorted(os.listdir(folder))
    assert mtls(*GOOD, "-m", "1", "-o", "kept", f"{url}/short").returncode in (18, 28)
    assert (folder / "kept").read_text() == "before"
    assert sorted(os.listdir(folder)) == before
    assert mtls(*GOOD, "-o", "kept", f"{url}/whole").returncode == 0
    assert (folder / "kept").read_text() == "whole"
    assert mtls(*GOOD, "-O", f"{url}/named.txt").returncode == 0
    assert (folder / "named.txt").read_text() == "whole"
    assert mtls(*GOOD, "-o", "/dev/null", f"{url}/whole").returncode == 0


def test_time_is_limited(mtls: Run, serve: Callable[..., Server]) -> None:
    import threading

    hold = threading.Event()

    def answer(_call: Call) -> Answer:
        hold.wait(20)
        return Answer()

    done = mtls(*GOOD, "-m", "0.5", serve(handler=answer).url)
    hold.set()
    assert done.returncode == 28
    assert b"not finished after 0.5 seconds" in done.stderr


def test_tls_versions_are_honoured(mtls: Run, serve: Callable[..., Server]) -> None:
    old = serve(maximum_version=ssl.TLSVersion.TLSv1_2)
    assert mtls(*GOOD, "--tlsv1.3", old.url).returncode == 35
    assert json.loads(mtls(*GOOD, old.url).stdout)["version"] == "TLSv1.2"
    new = serve()
    assert json.loads(mtls(*GOOD, "--tls-max", "1.2", new.url).stdout)["version"] == "TLSv1.2"


def test_pins_are_taken_as_curl_takes_them(
    mtls: Run, server: Server, server_identity: Identity, folder: Path
) -> None:
    (folder / "server.pem").write_bytes(server_identity.certificate_pem())
    spelled = server_identity.pin.replace("sha256/", "sha256//")
    for pin in (spelled, f"sha256//{'A' * 43}=;{spelled}", "server.pem"):
        assert mtls(*GOOD, "--pinnedpubkey", pin, server.url).returncode == 0


def test_a_revoked_server_is_refused(
    mtls: Run, server: Server, ca: CA, server_identity: Identity, folder: Path
) -> None:
    (folder / "crl.pem").write_bytes(ca.crl([server_identity]))
    done = mtls(*GOOD, "--crlfile", "crl.pem", server.url)
    assert done.returncode == 60
    assert b"has been revoked" in done.stderr


def test_nobody_reading_is_no_traceback(server: Server, folder: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "mtls_client", *GOOD, server.url],
        cwd=folder,
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=30,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (23, b"")


def on_a_terminal(folder: Path, arguments: list[str], answer: bytes = b"") -> tuple[int, str]:
    """Run the command on a terminal of its own; type the answer at the first prompt."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, [sys.executable, "-m", "mtls_client", *arguments])
    shown, asked, deadline = b"", False, time.monotonic() + 30
    try:
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 1)[0]:
                continue
            try:
                piece = os.read(terminal, 4096)
            except OSError:
                break
            if not piece:
                break
            shown += piece
            if b"password for" in shown and not asked:
                asked = True
                os.write(terminal, answer + b"\n")
        else:
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_person_is_asked_for_the_password(server: Server, folder: Path) -> None:
    arguments = ["--cert", "client.p12", "--cacert", "ca.pem", server.url]
    code, shown = on_a_terminal(folder, arguments, b"tops3cret")
    assert code == 0
    assert '"subject": "client"' in shown
    assert "tops3cret" not in shown
    code, shown = on_a_terminal(folder, arguments, b"wrong")
    assert code == 58
    assert "wrong password" in shown


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_colour_is_for_terminals_and_can_be_refused(
    folder: Path, mtls: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [*GOOD, "https://localhost:1/"]
    assert "\x1b[" in on_a_terminal(folder, arguments)[1]
    assert b"\x1b[" not in mtls(*arguments).stderr
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in on_a_terminal(folder, arguments)[1]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_binary_is_not_poured_on_a_terminal(serve: Callable[..., Server], folder: Path) -> None:
    url = serve(handler=lambda _call: Answer(body=b"a\0b")).url
    code, shown = on_a_terminal(folder, [*GOOD, url])
    assert code == 23
    assert "binary output" in shown
    assert on_a_terminal(folder, [*GOOD, "-o", "-", url])[0] == 0


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["show", "client.pem"]])
def test_what_needs_no_http_client_loads_none(arguments: list[str], folder: Path) -> None:
    code = (
        "import sys\nfrom mtls_client.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: sys.stderr.write(str(sorted({'httpx', 'requests'} & set(sys.modules))))"
    )
    done: Any = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert (done.returncode, done.stderr) == (0, "[]")
