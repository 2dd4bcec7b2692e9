"""`mtls needs-renewal`: 0 due, 1 not due, 2 it cannot be told."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from mtls_client import Identity, RenewalPolicy
from mtls_client.cli.durations import duration
from mtls_client.cli.policy import policy_of
from mtls_client.testing import CA
from tests.cli.conftest import Run

DAY = datetime.timedelta(days=1)


@pytest.fixture
def aged(folder: Path, ca: CA) -> Identity:
    """An identity of 90 days of which 50 are over: not due yet by the default policy."""
    now = datetime.datetime.now(datetime.UTC)
    made = ca.intermediate().issue("aged", not_before=now - 50 * DAY, not_after=now + 40 * DAY)
    made.save_pem(folder / "aged.pem", password=None)
    made.save_pem(folder / "aged-locked.pem", password="tops3cret")
    made.save_pkcs12(folder / "aged.p12", password="tops3cret")
    (folder / "aged.crt").write_bytes(made.certificate_pem())
    return made


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ([], 1),
        (["--before", "30d"], 1),
        (["--before", "41d"], 0),
        (["--fraction", "0.5"], 0),
        (["--fraction", "0.9"], 1),
        (["--jitter", "0"], 1),
        (["--before", "39d", "--jitter", "0"], 1),
    ],
)
def test_exit_code_and_line(options: list[str], code: int, mtls: Run, aged: Identity) -> None:
    done = mtls("needs-renewal", "--cert", "aged.pem", *options)
    assert (done.returncode, done.stderr) == (code, b"")
    [line] = done.stdout.decode().splitlines()
    assert line.startswith("due since " if code == 0 else "not due before ")
    assert line.endswith(f"CN=aged, until {aged.not_after:%Y-%m-%d %H:%M} UTC")
    quiet = mtls("needs-renewal", "--cert", "aged.pem", *options, "-s")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (code, b"", b"")


def test_the_line_tells_the_date_of_the_policy(mtls: Run, aged: Identity) -> None:
    done = mtls("needs-renewal", "--cert", "aged.pem")
    assert f"before {RenewalPolicy().due(aged):%Y-%m-%d %H:%M} UTC" in done.stdout.decode()


def test_an_expired_certificate_is_due(mtls: Run) -> None:
    assert mtls("needs-renewal", "--cert", "expired.pem", "--quiet").returncode == 0


@pytest.mark.parametrize("file", ["aged-locked.pem", "aged.crt"])
def test_neither_key_nor_password_is_needed(file: str, mtls: Run, aged: Identity) -> None:
    """Whoever watches certificates need not be able to use them."""
    for options in ([], ["--key", "absent.key"]):
        done = mtls("needs-renewal", "--cert", file, *options)
        assert (done.returncode, done.stderr) == (1, b"")
        assert b"CN=aged" in done.stdout


def test_a_certificate_that_is_encrypted_needs_the_password(mtls: Run, aged: Identity) -> None:
    done = mtls("needs-renewal", "--cert", "aged.p12")
    assert (done.returncode, b"--pass" in done.stderr) == (2, True)
    done = mtls("needs-renewal", "--cert", "aged.p12", "--pass", "env:P", P="tops3cret")
    assert (done.returncode, done.stderr) == (1, b"")


def test_an_identity_of_the_keyring(bank: Path, mtls: Run) -> None:
    done = mtls("needs-renewal", "--identity", "keyring:bank", "--fraction", "0.001")
    assert (done.returncode, done.stderr) == (0, b"")
    assert mtls("needs-renewal", "--identity", "keyring:other").returncode == 2


def test_several_certificates_are_told_apart_by_select(
    mtls: Run, folder: Path, identity: Identity, expired_identity: Identity
) -> None:
    both = identity.certificate_pem() + expired_identity.certificate_pem()
    (folder / "both.pem").write_bytes(both)
    done = mtls("needs-renewal", "--cert", "both.pem")
    assert (done.returncode, b"--select" in done.stderr) == (2, True)
    for which, code in ((expired_identity.fingerprint, 0), ("client", 1)):
        done = mtls("needs-renewal", "--cert", "both.pem", "--select", which)
        assert done.returncode == code
    done = mtls("needs-renewal", "--cert", "both.pem", "--select", "nobody")
    assert (done.returncode, b"no certificate matches" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], b"no certificate was named"),
        (["--cert", "absent.pem"], b"no such file"),
        (["--cert", "."], b"a folder"),
        (["--cert", "notes.txt"], b"neither a certificate nor a key"),
        (["--cert", "client.pem", "--identity", "env:"], b"in the place of --cert"),
        (["--cert", "client.pem", "--before", "30"], b"write 30d, 12h, 90m or 45s"),
        (["--cert", "client.pem", "--before", "0d"], b"no time at all"),
        (["--cert", "client.pem", "--fraction", "2"], b"renewal policy: fraction is 2"),
        (["--cert", "client.pem", "--fraction", "0.5", "--before", "1d"], b"give one of them"),
        (["--cert", "client.pem", "--jitter", "0.6"], b"jitter is 0.6"),
        (["--cert", "client.pem", "--pass", "tops3cret"], b"seen by every user"),
    ],
)
def test_what_cannot_be_told_is_2(
    arguments: list[str], words: bytes, mtls: Run, folder: Path
) -> None:
    (folder / "notes.txt").write_text("remember the milk")
    done = mtls("needs-renewal", *arguments, "--quiet")
    assert (done.returncode, done.stdout) == (2, b"")
    assert words in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "seconds"), [("30d", 2_592_000), ("12h", 43_200), ("90m", 5_400), ("45s", 45)]
)
def test_durations(text: str, seconds: int) -> None:
    assert duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "30", "d", "1.5h", "-1d", "1d12h", "30 d", "9999999d", "٣d"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="write 30d, 12h, 90m or 45s"):
        duration(text)


@pytest.mark.parametrize(
    "given", [{}, {"fraction": 0.5}, {"before": 30 * DAY, "jitter": 0.0}, {"jitter": 0.5}]
)
def test_options_make_the_policy(given: dict[str, Any]) -> None:
    assert policy_of(**given) == RenewalPolicy(**given)
