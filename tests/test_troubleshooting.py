"""docs/troubleshooting.md has every message of the library: what is searched for is found."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

import pytest

from mtls_client import Identity, PinMismatchError, RejectionReason, Session, Trust, errors
from mtls_client._tls import alerts
from mtls_client._tls.verdicts import verdict
from mtls_client.explanation import answers, openssl
from mtls_client.testing import CA, Server

PACKAGE = Path(answers.__file__).parents[1]
PAGE = (PACKAGE.parent / "docs" / "troubleshooting.md").read_text()
HEADINGS = "\n".join(line for line in PAGE.splitlines() if line.startswith("#"))
PROSE = " ".join(PAGE.split()).lower()


def fact(number: int) -> str:
    """Return what the library says about a verdict of OpenSSL."""
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message = number, "words"
    message = str(verdict(error, None).args[0])
    return message.removeprefix("the server is not trusted: ").removesuffix(
        f" (OpenSSL {number}: words)"
    )


VERDICTS = {number: said for number in range(1, 100) if (said := fact(number)) != "words"}


def test_the_verdicts_are_found() -> None:
    """The control: an empty list would pass below."""
    assert VERDICTS.keys() == set(openssl._NUMBERS.values())


@pytest.mark.parametrize("number", VERDICTS)
def test_every_verdict_has_a_paragraph(number: int) -> None:
    assert VERDICTS[number].lower() in PROSE


@pytest.mark.parametrize("words", openssl._NUMBERS)
def test_the_words_of_openssl_are_a_heading(words: str) -> None:
    assert words.replace("self signed", "self-signed").replace("unsupported", "unsuitable") in (
        HEADINGS
    )


@pytest.mark.parametrize("alert", alerts._REASONS)
def test_every_alert_about_our_certificate_is_a_heading(alert: str) -> None:
    reason = alerts.reason_of(alert)
    assert reason is not None
    message, _ = alerts.overheard(reason, f"alert {alert}", host="HOST")
    heading = message if reason is RejectionReason.MISSING else message.partition(": ")[0]
    assert heading in HEADINGS
    assert re.search(rf"_ALERT_{alert.upper()}`", HEADINGS)


@pytest.mark.parametrize("reason", alerts._FACTS)
def test_every_reason_has_a_paragraph(reason: RejectionReason) -> None:
    assert alerts._FACTS[reason].lower() in PROSE


def test_what_a_session_raises_is_a_heading(server: Server, ca: CA, identity: Identity) -> None:
    pinned = Trust.from_pem(ca.pem, pins=[identity.pin])
    with Session(identity, trust=pinned) as session, pytest.raises(PinMismatchError) as caught:
        session.get(server.url)
    message = str(caught.value.args[0]).partition("\n")[0]
    assert message.replace("localhost", "HOST") in HEADINGS
    for certain, alert in ((False, None), (True, "certificate_required")):
        error = alerts.refused(
            RejectionReason.MISSING, alert, host="HOST", identity=None, certain=certain
        )
        assert str(error.args[0]).partition(" (")[0] in HEADINGS
    assert "HOST refused our certificate (it closed the connection without an alert)" in HEADINGS


@pytest.mark.parametrize("reason", openssl._MEANINGS)
def test_every_reason_of_openssl_that_is_explained_has_heading_and_paragraph(reason: str) -> None:
    name = "PEM lib" if reason == "PEM_LIB" else reason.upper()
    assert name in HEADINGS
    assert openssl._MEANINGS[reason].why.replace("{where}", "host").lower() in PROSE


@pytest.mark.parametrize("words", [page.words.decode() for page in answers._PAGES])
def test_every_page_is_a_heading(words: str) -> None:
    assert words.removesuffix(" - Forbidden") in HEADINGS


@pytest.mark.parametrize("words", [answers._LATE, *answers._PLAIN])
def test_every_other_page_is_a_heading(words: bytes) -> None:
    assert words.decode() in HEADINGS


def test_every_code_of_an_explanation_is_documented() -> None:
    text = (PACKAGE.parent / "docs" / "errors.md").read_text()
    table = text.partition("## explain")[2].partition("## ")[0]
    codes = {
        code
        for path in (PACKAGE / "explanation").glob("*.py")
        for code in re.findall(r'code(?:: str)? ?= ?"(\w+)"', path.read_text())
    }
    codes |= {meaning.code for meaning in openssl._MEANINGS.values()}
    own = {
        kind.code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.MTLSError)
    }
    own |= {f"rejected_{reason}" for reason in RejectionReason}
    assert {code for code in codes - own if f"`{code}`" not in table} == set()
    assert len(codes - own) > 10


def test_links_lead_to_headings() -> None:
    anchors = {
        re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in HEADINGS.splitlines()
    }
    assert set(re.findall(r"\(#([\w-]+)\)", PAGE)) <= anchors
