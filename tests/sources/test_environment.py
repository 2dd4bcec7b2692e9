"""Identities in environment variables and systemd credentials; no error shows what is in one."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

import mtls_client as mtls
from mtls_client import EnvironmentSource, Identity, Source
from mtls_client.identity import IdentityWarning
from mtls_client.sources import Watchable
from mtls_client.testing import CA
from tests.identity.secrecy import assert_silent
from tests.sources.test_directory import leaf, needs_permissions, pair, put

PASSWORD = "s3cret-Passw0rd"


def variables(**values: str | bytes) -> dict[str, str]:
    return {
        f"MTLS_CLIENT_{name}": value if isinstance(value, str) else value.decode()
        for name, value in values.items()
    }


def source(**values: str | bytes) -> EnvironmentSource:
    return EnvironmentSource(environ=variables(**values))


@pytest.fixture(scope="module")
def locked(identity: Identity, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The identity as PEM, its key encrypted."""
    path = tmp_path_factory.mktemp("locked") / "all.pem"
    identity.save_pem(path, password=PASSWORD)
    return path.read_bytes()


@pytest.fixture(scope="module")
def bundle(identity: Identity, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("bundle") / "all.p12"
    identity.save_pkcs12(path, password=PASSWORD)
    return path.read_bytes()


def one_line(data: bytes) -> str:
    return data.decode().replace("\n", "\\n")


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("form", [bytes.decode, one_line, encoded], ids=["pem", "one line", "b64"])
def test_certificate_and_key(form: object, identity: Identity, ca: CA) -> None:
    assert callable(form)
    made = source(CERT=form(leaf(identity)), KEY=form(identity.private_key_pem()))
    assert isinstance(made, Source)
    assert isinstance(made, Watchable)
    assert (made.load().fingerprint, made.load().roots) == (identity.fingerprint, ())
    loaded = source(
        CERT=form(leaf(identity)), KEY=form(identity.private_key_pem()), CA=form(ca.pem)
    ).load()
    assert loaded.roots == (ca.certificate,)


def test_der_in_base64(identity: Identity, bundle: bytes) -> None:
    made = source(
        CERT=encoded(identity.certificate.public_bytes(Encoding.DER)),
        KEY=identity.private_key_pem(),
    )
    assert made.load().fingerprint == identity.fingerprint
    made = source(PKCS12=encoded(bundle), PKCS12_PASSWORD=PASSWORD)
    assert made.load().fingerprint == identity.fingerprint


def test_everything_in_one_variable(identity: Identity, locked: bytes) -> None:
    assert source(CERT=locked, KEY_PASSWORD=PASSWORD).load().fingerprint == identity.fingerprint
    one = EnvironmentSource("X_", environ={"X_CERT": one_line(locked), "X_KEY_PASSWORD": PASSWORD})
    assert one.load().fingerprint == identity.fingerprint


@pytest.mark.parametrize("scheme", ["file:", "file://", "FILE:", " file:"])
def test_files(scheme: str, identity: Identity, ca: CA, bundle: bytes, tmp_path: Path) -> None:
    """Also for a password, of which a line break at the end is no part."""
    put(tmp_path, **pair("c", "k", identity), ca=ca.pem, p12=bundle, word=f"{PASSWORD}\n".encode())
    at = {name: f"{scheme}{tmp_path / name}" for name in ("c", "k", "ca", "p12", "word")}
    loaded = source(CERT=at["c"], KEY=at["k"], CA=at["ca"]).load()
    assert (loaded.fingerprint, loaded.roots) == (identity.fingerprint, (ca.certificate,))
    loaded = source(PKCS12=at["p12"], PKCS12_PASSWORD=at["word"]).load()
    assert loaded.fingerprint == identity.fingerprint


def test_the_variables_of_the_process_are_read_at_each_load(
    identity: Identity, untrusted_identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = EnvironmentSource("ORDERS_")
    for one in (identity, untrusted_identity):
        monkeypatch.setenv("ORDERS_CERT", leaf(one).decode())
        monkeypatch.setenv("ORDERS_KEY", one.private_key_pem().decode())
        assert made.load().fingerprint == one.fingerprint


def test_several_in_one_variable_are_selected(
    identity: Identity, untrusted_identity: Identity
) -> None:
    environ = variables(
        CERT=leaf(identity) + leaf(untrusted_identity),
        KEY=identity.private_key_pem() + untrusted_identity.private_key_pem(),
    )
    with pytest.raises(mtls.AmbiguousIdentityError, match="MTLS_CLIENT_CERT and MTLS_CLIENT_KEY"):
        EnvironmentSource(environ=environ).load()
    loaded = EnvironmentSource(environ=environ, select="stranger").load()
    assert loaded.fingerprint == untrusted_identity.fingerprint


# -- systemd ------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [str, str.lower])
def test_credentials_of_systemd(
    change: object, identity: Identity, ca: CA, locked: bytes, tmp_path: Path
) -> None:
    """By the name of the variable, as it is or in lower case; what is set counts more."""
    assert callable(change)
    put(
        tmp_path,
        **{
            change("MTLS_CLIENT_CERT"): locked,
            change("MTLS_CLIENT_KEY_PASSWORD"): f"{PASSWORD}\n".encode(),
            change("MTLS_CLIENT_CA"): b"overruled",
        },
    )
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "MTLS_CLIENT_CA": ca.pem.decode()}
    loaded = EnvironmentSource(environ=environ).load()
    assert (loaded.fingerprint, loaded.roots) == (identity.fingerprint, (ca.certificate,))


def test_the_folder_of_systemd_is_the_last_resort(
    identity: Identity, untrusted_identity: Identity, ca: CA, tmp_path: Path
) -> None:
    put(tmp_path, **pair("tls.crt", "tls.key", identity), **{"ca.crt": ca.pem})
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    loaded = EnvironmentSource(environ=environ).load()
    assert (loaded.fingerprint, loaded.roots) == (identity.fingerprint, (ca.certificate,))
    environ |= variables(CERT=leaf(untrusted_identity), KEY=untrusted_identity.private_key_pem())
    assert EnvironmentSource(environ=environ).load().fingerprint == untrusted_identity.fingerprint


def test_a_password_goes_with_that_folder(
    identity: Identity, bundle: bytes, tmp_path: Path
) -> None:
    put(tmp_path, **{"keystore.p12": bundle})
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), **variables(PKCS12_PASSWORD=PASSWORD)}
    assert EnvironmentSource(environ=environ).load().fingerprint == identity.fingerprint


# -- what is wrong ------------------------------------------------------------------------------


def test_nothing_is_set(tmp_path: Path) -> None:
    """An empty variable is none; what was missing in a folder of systemd is said too."""
    for environ in ({}, variables(CERT="", KEY=""), variables(CA="x", KEY_PASSWORD="y")):
        with pytest.raises(mtls.IdentityNotFoundError) as caught:
            EnvironmentSource(environ=environ).load()
        assert caught.value.code == "variable_unset"
        for name in ("MTLS_CLIENT_CERT", "MTLS_CLIENT_KEY", "MTLS_CLIENT_PKCS12"):
            assert name in str(caught.value)
    with pytest.raises(mtls.IdentityNotFoundError, match=r"MTLS_CLIENT_CERT.* tls\.crt with tls"):
        EnvironmentSource(environ={"CREDENTIALS_DIRECTORY": str(tmp_path)}).load()


def test_both_ways_at_once(identity: Identity, bundle: bytes) -> None:
    with pytest.raises(mtls.AmbiguousIdentityError) as caught:
        source(PKCS12=encoded(bundle), KEY=identity.private_key_pem()).load()
    assert caught.value.code == "variable_ambiguous"
    assert "MTLS_CLIENT_PKCS12 is set, and MTLS_CLIENT_KEY too" in str(caught.value)
    assert_silent(caught.value)


@pytest.mark.parametrize(
    ("values", "named", "code"),
    [
        ({"CERT": "hunter2"}, "MTLS_CLIENT_CERT", "unknown_format"),
        ({"CERT": "/etc/hunter2.pem"}, "MTLS_CLIENT_CERT", "unknown_format"),
        ({"CERT": "file:/no/hunter2"}, "MTLS_CLIENT_CERT", "variable_file"),
        ({"CERT": "file://hunter2/x"}, "MTLS_CLIENT_CERT", "variable_file"),
        ({"CERT": "file:%00hunter2"}, "MTLS_CLIENT_CERT", "variable_file"),
        ({"CERT": "file:" + "hunter2" * 1000}, "MTLS_CLIENT_CERT", "variable_file"),
        ({"CERT": "-----BEGIN hunter2"}, "MTLS_CLIENT_CERT", "truncated"),
        ({"PKCS12": "MIIhunter2"}, "MTLS_CLIENT_PKCS12", "unknown_format"),
        ({"CERT": None, "KEY": "hunter2"}, "MTLS_CLIENT_KEY", "unknown_format"),
        ({"CERT": None}, "MTLS_CLIENT_CERT", "no_key"),
        ({"KEY": None}, "MTLS_CLIENT_KEY", "no_certificate"),
        ({"CERT": None, "KEY": None, "CA": "hunter2"}, "MTLS_CLIENT_CA", "unknown_format"),
        ({"CERT": None, "KEY": None, "CA": "file:/hunter2"}, "MTLS_CLIENT_CA", "variable_file"),
    ],
)
def test_an_error_names_the_variable_and_not_what_is_in_it(
    values: dict[str, str | None], named: str, code: str, identity: Identity
) -> None:
    right = {"CERT": leaf(identity), "KEY": identity.private_key_pem()}
    with pytest.raises(mtls.IdentityError) as caught:
        source(**{name: value or right[name] for name, value in values.items()}).load()
    assert str(caught.value).startswith(f"{named}: ")
    assert caught.value.code == code
    assert caught.value.hint
    assert_silent(caught.value, "hunter2")


def test_passwords_stay_out_of_every_error(locked: bytes, bundle: bytes, tmp_path: Path) -> None:
    for values, code in (
        ({"CERT": locked}, "password_needed"),
        ({"CERT": locked, "KEY_PASSWORD": "hunter2"}, "password_wrong"),
        ({"CERT": locked, "PKCS12_PASSWORD": PASSWORD}, "password_needed"),
        ({"CERT": locked, "KEY_PASSWORD": "file:/no/hunter2"}, "password_file"),
        ({"PKCS12": encoded(bundle)}, "password_wrong"),
        ({"PKCS12": encoded(bundle), "PKCS12_PASSWORD": "hunter2"}, "password_wrong"),
        ({"PKCS12": encoded(bundle), "PKCS12_PASSWORD": "file:hunter2"}, "password_file"),
    ):
        with pytest.raises(mtls.PasswordError) as caught:
            source(**values).load()
        assert caught.value.code in (code, "password_needed")
        assert "MTLS_CLIENT_" in str(caught.value)
        assert_silent(caught.value, "hunter2", PASSWORD)


def test_its_repr_shows_no_value(locked: bytes) -> None:
    made = source(CERT=locked, KEY_PASSWORD=PASSWORD)
    assert repr(made) == "EnvironmentSource('MTLS_CLIENT_')"


@needs_permissions
def test_a_key_file_open_to_others(identity: Identity, tmp_path: Path) -> None:
    """The variable is named, its file is not; what systemd provides has the modes of systemd."""
    put(tmp_path, **pair("c", "MTLS_CLIENT_KEY", identity))
    (tmp_path / "MTLS_CLIENT_KEY").chmod(0o440)
    with pytest.warns(IdentityWarning, match="MTLS_CLIENT_KEY names: the group") as caught:
        source(CERT=leaf(identity), KEY=f"file:{tmp_path / 'MTLS_CLIENT_KEY'}").load()
    assert [one.filename for one in caught] == [__file__]
    environ = variables(CERT=leaf(identity)) | {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    EnvironmentSource(environ=environ).load()


# -- digest -------------------------------------------------------------------------------------


def test_the_digest_tells_every_change(identity: Identity, ca: CA, tmp_path: Path) -> None:
    environ: dict[str, str] = {}
    made = EnvironmentSource(environ=environ)
    seen = [made.digest()]

    def changed() -> bool:
        seen.append(made.digest())
        assert len(seen[-1]) == 32
        return seen[-1] not in seen[:-1]

    environ["CREDENTIALS_DIRECTORY"] = str(tmp_path)
    assert changed()
    put(tmp_path, **pair("tls.crt", "tls.key", identity))
    assert changed()
    put(tmp_path, **{"ca.crt": ca.pem})
    assert changed()
    put(tmp_path, mtls_client_cert=b"x")
    assert changed()
    environ |= variables(CERT=f"file:{tmp_path / 'cert'}", KEY="key")
    assert changed()
    put(tmp_path, cert=b"content")
    assert changed()
    put(tmp_path, cert=b"other")
    assert changed()
    environ |= variables(KEY_PASSWORD="word")
    assert changed()
    environ["UNRELATED"] = "x"
    assert not changed()
    environ |= variables(CERT="file://machine/x", KEY="\udcff")
    assert changed()


@settings(max_examples=80, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["CERT", "KEY", "PKCS12", "CA", "KEY_PASSWORD", "PKCS12_PASSWORD"]),
        st.text(max_size=40)
        | st.text(max_size=20).map("file:".__add__)
        | st.text(max_size=20).map("-----BEGIN ".__add__),
    )
)
def test_no_variables_raise_anything_but_an_identity_error(values: dict[str, str]) -> None:
    made = source(**values)
    assert made.digest() == made.digest()
    with pytest.raises(mtls.IdentityError) as caught:
        made.load()
    assert "MTLS_CLIENT_" in str(caught.value)
    assert_silent(caught.value)


def test_the_folder_of_systemd_may_be_anything() -> None:
    for folder in ("/no/such", "\0", os.devnull):
        made = EnvironmentSource(environ={"CREDENTIALS_DIRECTORY": folder})
        assert len(made.digest()) == 32
        with pytest.raises(mtls.IdentityError):
            made.load()
