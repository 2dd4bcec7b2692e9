"""A report is a value, hides secrets, and has its codes documented; a diagnosis has an end."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import threading
from pathlib import Path

import pytest

import mtls_client as mtls
from mtls_client import FileSource, Trust, diagnose
from mtls_client._tls import keys
from mtls_client.doctor import Finding, Report, Severity
from mtls_client.doctor.catalogue import CODES, LOADING, found, report
from mtls_client.doctor.diagnosis import clock
from mtls_client.testing import CA, Answer
from tests.doctor.conftest import Stage, made_by_hand

DOCS = Path(mtls.__file__).parents[1] / "docs" / "doctor.md"


def test_every_code_has_a_heading_and_no_other() -> None:
    headings = re.findall(r"^### `(\w+)`$", DOCS.read_text(), re.MULTILINE)
    assert headings == [code for code in CODES if code != LOADING]


def test_the_worst_comes_first_and_causes_before_effects() -> None:
    given = [found(code, "seen") for code in reversed(CODES)]
    assert [one.code for one in report([*given, *given]).findings] == list(CODES)


def test_a_report_counts_and_turns_into_json() -> None:
    made = report([found("tls_spoken", "TLSv1.3"), found("unreachable", "x", "y")])
    assert (made.ok, made.summary) == (False, "1 error")
    assert json.loads(made.to_json()) == json.loads(json.dumps(made.to_dict()))
    assert [one["code"] for one in made.to_dict()["findings"]] == ["unreachable", "tls_spoken"]
    assert Report(()).ok
    assert "hint: y" in str(made)


def test_a_finding_cannot_be_changed() -> None:
    finding = Finding("c", Severity.INFO, "t", "e")
    with pytest.raises(AttributeError):
        finding.code = "d"  # type: ignore[misc]


def test_no_secret_is_told(stage: Stage) -> None:
    """Not a key, a password, a query, nor what is in a URL or in the answer."""
    stage.identity.save_pem(stage.folder / "client.pem", password="s3cret-w0rd")
    server = stage.serve(handler=lambda call: Answer(status=403, body=b"s3cret-answer"))
    url = f"https://user:s3cret-user@localhost:{server.port}/?token=s3cret-token"
    for password in ("s3cret-w0rd", "s3cret-other", None):
        source = FileSource(stage.folder / "client.pem", password=password)
        text = diagnose(source, url, trust=stage.trust).to_json()
        assert "s3cret" not in text
        for line in stage.identity.private_key_pem().decode().splitlines():
            assert line not in text
    assert [call.path for call in server.calls] == ["/?token=s3cret-token"]
    assert "authorization" not in server.calls[0].headers


def test_a_source_that_fails_tells_no_secret() -> None:
    class Broken:
        def load(self) -> mtls.Identity:
            raise RuntimeError("s3cret")

    [finding] = diagnose(Broken()).findings
    assert finding.code == "source_failed"
    assert "s3cret" not in str(finding)


def test_what_a_server_says_cannot_move_the_cursor(stage: Stage) -> None:
    server = stage.serve(handler=lambda call: Answer(headers={"Server": "a\x1b[2J\u202eb"}))
    text = str(diagnose(stage.identity, server.url, trust=stage.trust))
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_nor_can_the_names_in_its_certificate(stage: Stage) -> None:
    server = stage.serve(made_by_hand("s\x1b[2J", dns="a\x1b[2J"), client_certificate="none")
    text = str(diagnose(None, server.url, trust=stage.trust))
    assert "[server_hostname]" in text
    assert "\x1b" not in text


def test_our_certificate_is_not_shown_to_a_server_that_we_do_not_trust(stage: Stage) -> None:
    server = stage.serve(client_certificate="optional")
    trust = Trust.from_pem(stage.other_ca.pem)
    text = str(diagnose(stage.identity, server.url, trust=trust))
    assert "[not_presented]" in text
    assert server.calls == []
    # a control: it is shown to one that we do
    diagnose(stage.identity, server.url, trust=stage.trust)
    assert [call.subject for call in server.calls] == ["client"]


def test_a_diagnosis_leaves_no_root_behind(stage: Stage) -> None:
    """The doctor forgives an unknown root to look on; nobody else may."""
    server = stage.serve(
        stage.other_ca.issue("s", dns=["localhost"], server=True),
        client_certificate="none",
        client_ca=None,
    )
    trust = Trust.system()
    assert not diagnose(None, server.url, trust=trust).ok
    for later in (trust, Trust.system(), stage.trust):
        with mtls.Session(None, trust=later) as session:
            with pytest.raises(mtls.UntrustedServerError):
                session.get(server.url, timeout=10)


def test_a_server_that_says_nothing_is_given_up(stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # connects, and is never accepted
        url = f"https://localhost:{listener.getsockname()[1]}"
        made = diagnose(None, url, trust=stage.trust, timeout=0.3)
    assert made.findings[0].code == "no_tls"


def test_a_proxy_that_drips_is_given_up(stage: Stage) -> None:
    """Each byte restarts the timeout of a socket; without another end this takes an hour."""
    done = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            while not done.wait(0.05):
                connection.sendall(b"H")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,), daemon=True)
        thread.start()
        stage.monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listener.getsockname()[1]}")
        made = diagnose(None, "https://api.example.com", trust=stage.trust, timeout=0.5)
        done.set()
        thread.join(5)
    assert made.findings[0].code == "proxy_unreachable"


def test_an_answer_that_drips_is_given_up(stage: Stage, server_identity: mtls.Identity) -> None:
    """As above, within TLS."""
    done = threading.Event()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    keys.present(context, server_identity)

    def drip(listener: socket.socket) -> None:
        while not done.is_set():
            with contextlib.suppress(OSError):
                plain, _ = listener.accept()
                with context.wrap_socket(plain, server_side=True) as connection:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                    while not done.wait(0.05):
                        connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        thread = threading.Thread(target=drip, args=(listener,), daemon=True)
        thread.start()
        url = f"https://localhost:{listener.getsockname()[1]}"
        made = diagnose(None, url, trust=stage.trust, timeout=1.0)
        done.set()
    thread.join(10)
    assert made.findings[0].code == "no_answer"


def test_a_server_that_does_not_answer_the_request_is_given_up(stage: Stage) -> None:
    done = threading.Event()

    def wait(_call: object) -> Answer:
        done.wait(20)
        return Answer()

    server = stage.serve(handler=wait)
    made = diagnose(stage.identity, server.url, trust=stage.trust, timeout=1.0)
    done.set()
    assert made.findings[0].code == "no_answer"


def test_our_clock_is_named_where_all_certificates_are_of_the_future(ca: CA) -> None:
    both = [found("server_not_yet_valid", "x"), found("identity_not_yet_valid", "y")]
    assert [one.code for one in clock(both, ca.certificate.not_valid_before_utc)] == ["clock_wrong"]
    assert list(clock(both[:1], ca.certificate.not_valid_before_utc)) == []


@pytest.mark.parametrize(
    "url", ["", "https://", "https://a b", "ftp://x", "https://[", "//", "https://.x"]
)
def test_no_url_raises(url: str, stage: Stage) -> None:
    stage.monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")  # nothing is looked up
    assert not diagnose(None, url, trust=stage.trust, timeout=1).ok


def test_a_path_may_hold_anything(stage: Stage) -> None:
    server = stage.serve()
    assert diagnose(stage.identity, f"{server.url}/ä b?q=%41 é#x", trust=stage.trust).ok
    assert [call.path for call in server.calls] == ["/%C3%A4%20b?q=%41%20%C3%A9"]


def test_what_is_no_source_is_an_error_of_the_caller() -> None:
    with pytest.raises(mtls.ConfigurationError, match="not a source"):
        diagnose("client.pem")  # type: ignore[arg-type]


def test_a_token_beside_the_certificate_is_another_matter(stage: Stage) -> None:
    server = stage.serve(handler=lambda call: Answer(status=401))
    made = diagnose(stage.identity, server.url, trust=stage.trust)
    assert made.ok
    assert {"identity_accepted", "http_answer"} <= {one.code for one in made.findings}
