"""A path or URI means one source, or an error says what to write."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtls_client as mtls
from mtls_client import (
    DirectorySource,
    EnvironmentSource,
    FileSource,
    Identity,
    KeyringSource,
    Source,
    source_from,
)
from tests.identity.secrecy import assert_silent
from tests.sources.test_directory import leaf, pair, put


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("client.pem", "FileSource('client.pem')"),
        ("/etc/client.pem", "FileSource('/etc/client.pem')"),
        ("a%20b.pem", "FileSource('a%20b.pem')"),
        ("./odd:name.pem", "FileSource('odd:name.pem')"),
        (Path("odd:name.pem"), "FileSource('odd:name.pem')"),
        ("C:\\pki\\client.pem", "FileSource('C:\\\\pki\\\\client.pem')"),
        ("c:/pki/client.pem", "FileSource('c:/pki/client.pem')"),
        (".", "DirectorySource('.')"),
        ("file:client.pem", "FileSource('client.pem')"),
        ("FILE:client.pem", "FileSource('client.pem')"),
        ("file:///etc/a%20b%3F.pem", "FileSource('/etc/a b?.pem')"),
        ("file://localhost/etc/x", "FileSource('/etc/x')"),
        ("file:c.pem?key=k.pem", "FileSource('c.pem', 'k.pem')"),
        ("file:c?chain=a+b&chain=/c%26d&key=k", "FileSource('c', 'k', 'a+b', '/c&d')"),
        ("file:c?", "FileSource('c')"),
        ("pkcs12:/etc/client.p12", "FileSource('/etc/client.p12')"),
        ("dir:/etc/tls", "DirectorySource('/etc/tls')"),
        ("dir:///etc/tls", "DirectorySource('/etc/tls')"),
        ("env:", "EnvironmentSource('MTLS_CLIENT_')"),
        ("env:ORDERS_", "EnvironmentSource('ORDERS_')"),
    ],
)
def test_what_a_uri_means(uri: str | Path, expected: str) -> None:
    made = source_from(uri)
    assert isinstance(made, Source)
    assert repr(made) == expected


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("keyring:bank", KeyringSource("bank")),
        ("keyring:orders/bank", KeyringSource("bank", service="orders")),
        ("keyring:orders/a%2Fb", KeyringSource("a/b", service="orders")),
    ],
)
def test_a_keyring(uri: str, expected: KeyringSource) -> None:
    made = source_from(uri)
    assert isinstance(made, KeyringSource)
    assert vars(made) == vars(expected)
    assert vars(made) != vars(KeyringSource("other"))


def test_each_of_them_loads(
    identity: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the password and selection that were given beside the URI."""
    put(tmp_path, **pair("tls.crt", "tls.key", identity))
    identity.save_pem(tmp_path / "all.pem", password="s3cret")
    identity.save_pkcs12(tmp_path / "all.p12", password="s3cret", label="ours")
    monkeypatch.setenv("ORDERS_CERT", f"file:{tmp_path / 'tls.crt'}")
    monkeypatch.setenv("ORDERS_KEY", f"file:{tmp_path / 'tls.key'}")
    for uri, arguments in (
        (str(tmp_path), {}),
        (tmp_path, {"select": "for_mtls"}),
        (f"dir:{tmp_path}", {"select": "client"}),
        (f"file:{tmp_path}/tls.crt?key={tmp_path}/tls.key", {}),
        (f"file://{tmp_path}/all.pem", {"password": "s3cret"}),
        (f"{tmp_path}/all.pem", {"password": lambda: "s3cret"}),
        (f"pkcs12:{tmp_path}/all.p12", {"password": "s3cret", "select": "ours"}),
        (f"file:{tmp_path}/all.p12?select=ours", {"password": "s3cret"}),
        ("env:ORDERS_", {"select": "client", "password": lambda: "unused"}),
    ):
        assert source_from(uri, **arguments).load().fingerprint == identity.fingerprint  # type: ignore[arg-type]
    for uri, arguments in (
        (tmp_path, {"select": "other"}),
        (f"file:{tmp_path}/all.p12?select=other", {"password": "s3cret"}),
        ("env:ORDERS_", {"select": "other"}),
    ):
        with pytest.raises(mtls.IdentityNotFoundError) as caught:
            source_from(uri, **arguments).load()  # type: ignore[arg-type]
        assert caught.value.code == "selection_empty"


@pytest.mark.parametrize(
    ("uri", "code", "said"),
    [
        ("", "source_path", "no path, but an empty text"),
        ("file:", "source_path", "no path where one belongs"),
        ("pkcs12:", "source_path", "no path where one belongs"),
        ("dir:%00", "source_path", "no path where one belongs"),
        ("file:c?key=", "source_path", "no path where one belongs"),
        ("file://machine/x", "source_path", "two slashes, and then a machine"),
        ("keyring:", "source_path", "keyring: without a name"),
        ("keyring:service/", "source_path", "keyring: without a name"),
        ("keyring:/name", "source_path", "keyring: without a name"),
        ("file:c?kye=hunter2", "source_option", "file: has no option 'kye'; it has key, chain"),
        ("file:c?password=hunter2", "source_option", "a password in a URI"),
        ("file:c?key=a&key=hunter2", "source_option", "key or select is given twice"),
        ("file:c?select=a&select=hunter2", "source_option", "key or select is given twice"),
        ("vault:hunter2", "source_scheme", "vault: is unknown; there are dir:, env:, file:, keyr"),
        ("https://hunter2@host/x", "source_scheme", "https: is unknown"),
    ],
)
def test_what_is_wrong_with_a_uri(uri: str, code: str, said: str) -> None:
    with pytest.raises(mtls.ConfigurationError) as caught:
        source_from(uri)
    assert caught.value.code == code
    assert str(caught.value).startswith(said)
    assert caught.value.hint
    assert_silent(caught.value, "hunter2")


@pytest.mark.parametrize(
    ("uri", "arguments"),
    [
        ("env:", {"password": "hunter2"}),
        ("keyring:x", {"password": b"hunter2"}),
        ("keyring:x", {"select": "hunter2"}),
    ],
)
def test_nothing_that_was_given_is_ignored(uri: str, arguments: dict[str, str]) -> None:
    with pytest.raises(mtls.ConfigurationError, match="has no use for") as caught:
        source_from(uri, **arguments)
    assert caught.value.code == "source_argument"
    assert_silent(caught.value, "hunter2")
    assert source_from(uri)


def test_an_unknown_scheme_is_that_whatever_else_was_given() -> None:
    with pytest.raises(mtls.ConfigurationError, match="vault: is unknown"):
        source_from("vault:x", password="x", select="y")


def test_a_selection_is_given_once() -> None:
    with pytest.raises(mtls.ConfigurationError, match="given twice"):
        source_from("file:c?select=a", select="a")


@given(st.text(max_size=30) | st.text(max_size=30).map("file:".__add__))
def test_any_text_is_a_source_or_a_configuration_error(text: str) -> None:
    try:
        made = source_from(text)
    except mtls.ConfigurationError as error:
        assert_silent(error)
    else:
        assert isinstance(made, (FileSource, DirectorySource, EnvironmentSource, KeyringSource))


# -- schemes of other packages ------------------------------------------------------------------

PLUGIN = """
import mtls_client

def good(rest):
    return mtls_client.FileSource(rest)

def broken(rest):
    raise RuntimeError(rest)

def knowing(rest):
    raise mtls_client.ConfigurationError("not like that", hint="but so", code="knowing")

def nothing(rest):
    return None
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Install a distribution with entry points, for one test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def make(name: str, entry_points: str) -> None:
        (tmp_path / f"{name}_plugin.py").write_text(PLUGIN)
        put(
            tmp_path / f"{name}-1.0.dist-info",
            METADATA=f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode(),
            **{"entry_points.txt": f"[mtls_client.sources]\n{entry_points}\n".encode()},
        )

    return make


def test_another_package_adds_a_scheme(
    install: Callable[[str, str], None], identity: Identity, tmp_path: Path
) -> None:
    """It is called with what follows the colon, as it stands."""
    with pytest.raises(mtls.ConfigurationError, match="hsm: is unknown"):
        source_from("hsm:x")
    install("acme_hsm", "hsm = acme_hsm_plugin:good")
    put(tmp_path, **{"a%20b?c": leaf(identity) + identity.private_key_pem()})
    made = source_from(f"HSM:{tmp_path}/a%20b?c")
    assert made.load().fingerprint == identity.fingerprint
    with pytest.raises(mtls.ConfigurationError, match="there are dir:, env:, file:, hsm:, keyring"):
        source_from("other:x")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("broken", "bad: is read by bad_pkg_plugin:broken of bad_pkg, which failed with Runtime"),
        ("nothing", "bad: is read by bad_pkg_plugin:nothing of bad_pkg, which returned no source"),
        ("missing", "bad: is read by bad_pkg_plugin:missing of bad_pkg, which failed with Attri"),
    ],
)
def test_a_package_that_fails(
    function: str, said: str, install: Callable[[str, str], None]
) -> None:
    """The message says whose fault it is; the cause is kept, and the URI is not in the message."""
    install("bad_pkg", f"bad = bad_pkg_plugin:{function}")
    with pytest.raises(mtls.ConfigurationError) as caught:
        source_from("bad:hunter2")
    assert str(caught.value).startswith(said)
    assert caught.value.code == "source_plugin"
    assert (caught.value.__cause__ is None) == (function == "nothing")
    assert "hunter2" not in str(caught.value)


def test_a_package_may_say_itself_what_is_wrong(install: Callable[[str, str], None]) -> None:
    install("wise", "wise = wise_plugin:knowing")
    with pytest.raises(mtls.ConfigurationError, match="not like that") as caught:
        source_from("wise:x")
    assert caught.value.code == "knowing"


def test_a_scheme_that_two_packages_offer(install: Callable[[str, str], None]) -> None:
    install("first", "twice = first_plugin:good")
    assert source_from("twice:x")
    install("second", "twice = second_plugin:good")
    with pytest.raises(mtls.ConfigurationError, match="first_plugin:good, second_plugin:good"):
        source_from("twice:x")


def test_no_package_takes_a_scheme_of_ours(install: Callable[[str, str], None]) -> None:
    install("thief", "env = thief_plugin:nothing")
    assert isinstance(source_from("env:"), EnvironmentSource)


@pytest.mark.parametrize("arguments", [{"password": "hunter2"}, {"select": "hunter2"}])
def test_a_package_is_given_the_uri_only(
    arguments: dict[str, str], install: Callable[[str, str], None]
) -> None:
    install("plain", "plain = plain_plugin:good")
    with pytest.raises(mtls.ConfigurationError, match="has no use for") as caught:
        source_from("plain:x", **arguments)
    assert_silent(caught.value, "hunter2")
