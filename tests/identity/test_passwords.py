"""Every form of a password, and what is said when it does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

import mtls_client as mtls
from mtls_client import FileSource, Identity
from tests.identity.conftest import PASSWORD, Files
from tests.identity.secrecy import assert_silent


@pytest.fixture(params=["pem", "p12"])
def locked(request: pytest.FixtureRequest, rsa: Files, tmp_path: Path) -> bytes:
    """The identity under `PASSWORD`."""
    path = tmp_path / "locked"
    save = {"pem": rsa.identity.save_pem, "p12": rsa.identity.save_pkcs12}[request.param]
    save(path, password=PASSWORD)
    return path.read_bytes()


@pytest.mark.parametrize(
    "form",
    [PASSWORD, PASSWORD.encode(), lambda: PASSWORD, lambda: PASSWORD.encode()],
    ids=["str", "bytes", "function of str", "function of bytes"],
)
def test_forms(form: str | bytes, locked: bytes, rsa: Files) -> None:
    assert Identity.from_pem(locked, password=form).fingerprint == rsa.identity.fingerprint


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_file_may_end_with_a_line_break(
    ending: str, locked: bytes, rsa: Files, tmp_path: Path
) -> None:
    path = tmp_path / "password"
    path.write_text(PASSWORD + ending, newline="")
    assert Identity.from_pem(locked, password=path).fingerprint == rsa.identity.fingerprint


def test_only_one_line_break_of_a_file_is_left_out(rsa: Files, tmp_path: Path) -> None:
    path, locked = tmp_path / "password", tmp_path / "locked.pem"
    rsa.identity.save_pem(locked, password="ends with a break\n")
    path.write_text("ends with a break\n\n")
    assert FileSource(locked, password=path).load().fingerprint == rsa.identity.fingerprint


def test_a_function_is_called_once_and_only_if_needed(ec: Files, tmp_path: Path) -> None:
    calls = []

    def ask() -> str:
        calls.append(None)
        return PASSWORD

    Identity.from_pem(ec.everything, password=ask)
    assert len(calls) == 0
    for name in ("one.pem", "two.pem"):
        ec.identity.save_pem(tmp_path / name, password=PASSWORD)
    both = (tmp_path / "one.pem").read_bytes() + (tmp_path / "two.pem").read_bytes()
    Identity.from_pem(both, password=ask)
    assert len(calls) == 1


def test_what_a_function_raises_is_not_touched(locked: bytes) -> None:
    def cancelled() -> str:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        Identity.from_pem(locked, password=cancelled)


def test_a_password_is_needed(locked: bytes) -> None:
    with pytest.raises(mtls.PasswordError, match="no password was given") as caught:
        Identity.from_pem(locked)
    assert caught.value.code == "password_needed"


@pytest.mark.parametrize("password", ["wrong", "", b"\xff\xfe", "p" * 5000])
def test_a_wrong_password(password: str, locked: bytes, rsa: Files) -> None:
    with pytest.raises(mtls.PasswordError) as caught:
        Identity.from_pem(locked, password=password)
    assert caught.value.code == "password_wrong"
    assert_silent(caught.value, "p" * 50)


@pytest.mark.parametrize("extra", ["\n", "\r\n", " "])
def test_a_line_break_too_many_is_pointed_out_and_not_forgiven(extra: str, locked: bytes) -> None:
    with pytest.raises(mtls.PasswordError) as caught:
        Identity.from_pem(locked, password=PASSWORD + extra)
    assert caught.value.code == "password_whitespace"
    assert "right but for a space or line break" in str(caught.value)
    assert_silent(caught.value, PASSWORD)
    # a control: another password with a line break gets the ordinary hint
    with pytest.raises(mtls.PasswordError) as caught:
        Identity.from_pem(locked, password="wrong" + extra)
    assert caught.value.code == "password_wrong"


def test_a_password_file_that_is_not_there(locked: bytes, tmp_path: Path) -> None:
    with pytest.raises(mtls.PasswordError, match=r"password file .* no such file") as caught:
        Identity.from_pem(locked, password=tmp_path / "nowhere")
    assert caught.value.code == "password_file"


def test_a_password_of_another_type_is_the_callers_mistake(locked: bytes) -> None:
    with pytest.raises(mtls.ConfigurationError, match="not int"):
        Identity.from_pem(locked, password=lambda: 1234)  # type: ignore[arg-type, return-value]
