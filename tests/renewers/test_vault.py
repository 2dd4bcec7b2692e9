"""The renewer for OpenBao and Vault, against OpenBao."""

from __future__ import annotations

import datetime
import ipaddress
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

import mtls_client as mtls
from mtls_client import (
    ConfigurationError,
    Identity,
    RenewalError,
    RenewalRefusedError,
    Trust,
)
from mtls_client.renewers import AppRole, CertAuth, Renewer, Vault
from mtls_client.testing import CA, Answer, Call, Server
from tests.identity.secrecy import assert_silent
from tests.renewers.openbao import OpenBao

MINUTES = datetime.timedelta(minutes=1)


@pytest.fixture(scope="module")
def current(ca: CA) -> Identity:
    return ca.issue(
        "svc-orders", dns=["orders.example"], uris=["spiffe://example/orders"], ips=["10.0.0.1"]
    )


@pytest.fixture
def vault(openbao: OpenBao, trust: Trust) -> Callable[..., Vault]:
    """Make a renewer that has the right to sign, but for what is given."""

    def make(role: str = "client", **options: Any) -> Vault:
        if not {"token", "approle", "cert_auth"} & options.keys():
            options["token"] = openbao.token("signs")
        return Vault(openbao.url, role=role, **{"trust": trust, **options})

    return make


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The home of a user who has no token anywhere."""
    monkeypatch.delenv("BAO_TOKEN", raising=False)
    monkeypatch.delenv("VAULT_TOKEN", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def alternatives(identity: Identity) -> set[x509.GeneralName]:
    extensions = identity.certificate.extensions
    return set(extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


def life(identity: Identity) -> datetime.timedelta:
    return identity.not_after - identity.not_before


def refused(vault: Vault, current: Identity) -> RenewalError:
    with pytest.raises(RenewalError) as caught:
        vault.renew(current)
    assert caught.value.hint
    return caught.value


class TestSigning:
    def test_the_new_identity_is_accepted_where_the_ca_is_trusted(
        self,
        vault: Callable[..., Vault],
        openbao: OpenBao,
        current: Identity,
        server_identity: Identity,
        trust: Trust,
    ) -> None:
        """The old one is of another CA and is refused by the same server."""
        new = vault().renew(current)
        root = CA()
        root.certificate = x509.load_pem_x509_certificate(openbao.root_pem)
        with Server(server_identity, client_ca=root) as server:
            with mtls.Client(new, trust=trust) as client:
                assert client.get(server.url).json()["serial"] == new.serial
            with mtls.Client(current, trust=trust) as client:
                with pytest.raises(mtls.IdentityRejectedError):
                    client.get(server.url)

    def test_names_are_kept_and_the_key_is_new(
        self, vault: Callable[..., Vault], current: Identity
    ) -> None:
        new = vault().renew(current)
        assert new.subject == "CN=svc-orders"
        assert alternatives(new) == alternatives(current)
        assert new.key_type == current.key_type
        assert new.pin != current.pin
        assert new.usable_for_client_auth
        assert new.notes == ()

    def test_names_stay_the_same_over_many_renewals(
        self, vault: Callable[..., Vault], ca: CA
    ) -> None:
        """The common name does not become a DNS name, as it would by default."""
        first = ca.issue("svc-plain.example", ips=["10.0.0.1"])
        renewer = vault()
        second = renewer.renew(renewer.renew(first))
        assert alternatives(second) == {x509.IPAddress(ipaddress.ip_address("10.0.0.1"))}

    def test_names_are_kept_by_roles_that_do_not_look_into_the_request(
        self, vault: Callable[..., Vault], openbao: OpenBao, current: Identity
    ) -> None:
        openbao.role("blind", use_csr_common_name=False, use_csr_sans=False)
        new = vault("blind").renew(current)
        assert (new.subject, alternatives(new)) == (current.subject, alternatives(current))

    def test_what_the_role_does_not_keep_is_noted(
        self, vault: Callable[..., Vault], openbao: OpenBao, current: Identity
    ) -> None:
        openbao.role("renaming", ou=["finance"])
        new = vault("renaming").renew(current)
        assert new.notes == (f"the subject was CN=svc-orders and is {new.subject}",)
        assert "OU=finance" in new.subject

    def test_the_chain_comes_along(self, vault: Callable[..., Vault], openbao: OpenBao) -> None:
        new = vault().renew(CA().issue("svc-a"))
        assert new.chain == (x509.load_pem_x509_certificate(openbao.root_pem),)

    @pytest.mark.parametrize(
        ("key", "kind"),
        [
            ("ec", ec.EllipticCurvePrivateKey),
            ("ed25519", ed25519.Ed25519PrivateKey),
            ("rsa3072", rsa.RSAPrivateKey),
        ],
    )
    @pytest.mark.parametrize("issue", [False, True])
    def test_the_key_may_be_of_another_kind(
        self, key: str, kind: type, issue: bool, openbao: OpenBao, current: Identity, trust: Trust
    ) -> None:
        renewer = Vault(
            openbao.url, role="client", token=openbao.root_token, trust=trust, key=key, issue=issue
        )
        assert isinstance(renewer.renew(current).private_key, kind)

    def test_the_key_may_stay(self, vault: Callable[..., Vault], current: Identity) -> None:
        new = vault(reuse_key=True).renew(current)
        assert new.pin == current.pin
        assert new.serial != current.serial

    def test_the_server_may_make_the_key(
        self, vault: Callable[..., Vault], openbao: OpenBao, current: Identity
    ) -> None:
        renewer = vault(token=openbao.token(openbao.policy("issues", "pki/issue/*")), issue=True)
        new = renewer.renew(current)
        assert (new.subject, alternatives(new)) == (current.subject, alternatives(current))
        assert new.key_type == "EC"
        assert new.pin != current.pin
        assert new.notes == ()
        # a control: this token may not sign
        assert refused(vault(token=openbao.token("issues")), current).code == "vault_denied"

    def test_the_life_is_the_roles_or_what_is_asked_for(
        self, vault: Callable[..., Vault], current: Identity
    ) -> None:
        backdated = datetime.timedelta(seconds=30)
        assert life(vault().renew(current)) - backdated == 60 * MINUTES
        assert life(vault(ttl=5 * MINUTES).renew(current)) - backdated == 5 * MINUTES
        assert life(vault(ttl="2h").renew(current)) - backdated == 120 * MINUTES

    def test_a_shorter_life_than_asked_for_is_noted(
        self, vault: Callable[..., Vault], current: Identity
    ) -> None:
        new = vault(ttl="100h").renew(current)
        assert life(new) < datetime.timedelta(hours=25)
        assert [note for note in new.notes if "maxTTL" in note] == list(new.notes) != []

    def test_a_namespace_has_its_own_ca(
        self, vault: Callable[..., Vault], openbao: OpenBao, current: Identity
    ) -> None:
        openbao.call("POST", "sys/namespaces/team")
        root = x509.load_pem_x509_certificate(openbao.with_ca("team"))
        openbao.role("client", "team")
        new = vault(namespace="team", token=openbao.root_token).renew(current)
        new.certificate.verify_directly_issued_by(root)
        other = refused(vault(namespace="tame", token=openbao.root_token), current)
        assert (other.code, other.retryable) == ("vault_mount", False)


class TestLogin:
    def test_a_token_is_given_in_any_form(
        self, vault: Callable[..., Vault], openbao: OpenBao, current: Identity, tmp_path: Path
    ) -> None:
        token, path = openbao.token("signs"), tmp_path / "token"
        path.write_text(token + "\n")
        for given in (token, token.encode(), path, lambda: token):
            assert vault(token=given).renew(current).subject == current.subject

    def test_a_file_is_read_at_each_renewal(
        self, vault: Callable[..., Vault], openbao: OpenBao, current: Identity, tmp_path: Path
    ) -> None:
        """An agent that has not written it yet is waited for."""
        path = tmp_path / "token"
        renewer = vault(token=path)
        missing = refused(renewer, current)
        assert (missing.code, missing.retryable) == ("renewal_secret", True)
        path.write_text("s.outdated")
        assert refused(renewer, current).code == "vault_denied"
        path.write_text(openbao.token("signs"))
        assert renewer.renew(current)

    def test_by_default_the_token_is_that_of_the_commands(
        self,
        openbao: OpenBao,
        current: Identity,
        trust: Trust,
        bare: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """BAO_TOKEN before VAULT_TOKEN before the file, each with the one after it wrong."""
        renewer = Vault(openbao.url, role="client", trust=trust)
        nothing = refused(renewer, current)
        assert (nothing.code, nothing.retryable) == ("vault_login", False)
        (bare / ".vault-token").write_text(openbao.token("signs"))
        assert renewer.renew(current)
        (bare / ".vault-token").write_text("wrong")
        assert refused(renewer, current).code == "vault_denied"
        monkeypatch.setenv("VAULT_TOKEN", openbao.token("signs"))
        assert renewer.renew(current)
        monkeypatch.setenv("VAULT_TOKEN", "wrong")
        monkeypatch.setenv("BAO_TOKEN", openbao.token("signs"))
        assert renewer.renew(current)

    def test_approle(
        self, vault: Callable[..., Vault], openbao: OpenBao, current: Identity, tmp_path: Path
    ) -> None:
        role_id, secret_id = openbao.approle("signs")
        (tmp_path / "secret-id").write_text(secret_id + "\n")
        for given in (secret_id, tmp_path / "secret-id", lambda: secret_id):
            assert vault(approle=AppRole(role_id, given)).renew(current)

    def test_approle_without_a_secret_id_on_a_mount_of_its_own(
        self, vault: Callable[..., Vault], openbao: OpenBao, current: Identity
    ) -> None:
        openbao.call("POST", "sys/auth/machines", type="approle")
        openbao.call(
            "POST",
            "auth/machines/role/app",
            token_policies=["signs"],
            bind_secret_id=False,
            token_bound_cidrs=["127.0.0.1/32"],
        )
        found = openbao.call("GET", "auth/machines/role/app/role-id")["data"]["role_id"]
        assert vault(approle=AppRole(found, mount="machines")).renew(current)
        assert refused(vault(approle=AppRole(found)), current).code == "vault_login"

    @pytest.mark.parametrize("given", [True, "services", CertAuth("services")])
    def test_the_current_certificate_logs_in(
        self, vault: Callable[..., Vault], current: Identity, given: Any
    ) -> None:
        second = vault(cert_auth=given).renew(current)
        assert vault(cert_auth=True).renew(second).subject == current.subject
        assert refused(vault(cert_auth="nobody"), current).code == "vault_login"

    @pytest.mark.parametrize("name", ["somebody", "svc-untrusted"])
    def test_a_certificate_that_may_not_log_in(
        self, vault: Callable[..., Vault], name: str, ca: CA, other_ca: CA
    ) -> None:
        stranger = (other_ca if name == "svc-untrusted" else ca).issue(name)
        error = refused(vault(cert_auth=True), stranger)
        assert (error.code, error.retryable) == ("vault_login", False)

    def test_an_expired_certificate_cannot_log_in(
        self, vault: Callable[..., Vault], expired_identity: Identity
    ) -> None:
        error = refused(vault(cert_auth=True), expired_identity)
        assert (error.code, error.retryable) == ("vault_login", False)
        assert "expired 2020-01-31" in str(error)
        # a control: it is no obstacle to other ways
        assert vault().renew(expired_identity).subject == expired_identity.subject

    def test_a_wrong_secret_id_is_told_and_not_shown(
        self, vault: Callable[..., Vault], openbao: OpenBao, current: Identity
    ) -> None:
        role_id, _ = openbao.approle("signs")
        error = refused(vault(approle=AppRole(role_id, "wr0ng-secret")), current)
        assert (error.code, error.retryable) == ("vault_login", False)
        assert_silent(error, role_id, "wr0ng-secret")

    def test_a_token_of_a_login_does_not_stay_alive(
        self, vault: Callable[..., Vault], openbao: OpenBao, current: Identity
    ) -> None:
        """Neither after success nor after failure; one that was given to us does."""
        given, approle = openbao.token("signs"), AppRole(*openbao.approle("signs"))
        before = openbao.logins()
        vault(approle=approle).renew(current)
        vault(cert_auth=True).renew(current)
        refused(vault("nobody", approle=approle), current)
        vault(token=given).renew(current)
        assert openbao.logins() == before

    def test_a_token_that_cannot_be_revoked_is_no_failure(
        self, vault: Callable[..., Vault], openbao: OpenBao, current: Identity
    ) -> None:
        approle = openbao.approle("signs", token_type="batch")
        assert vault(approle=AppRole(*approle)).renew(current)
        openbao.approle("signs", token_type="service")

    def test_a_certificate_with_a_lease_is_not_revoked_with_its_token(
        self, vault: Callable[..., Vault], openbao: OpenBao, current: Identity
    ) -> None:
        """With `generate_lease` the end of the token is the end of the certificate."""
        openbao.role("leased", generate_lease=True)
        before = openbao.logins()
        new = vault("leased", approle=AppRole(*openbao.approle("signs"))).renew(current)
        assert len(new.notes) == 1
        assert "generate_lease=false" in new.notes[0]
        assert new.serial not in openbao.revoked()
        # a control: this is what would have happened
        (accessor,) = openbao.logins() - before
        openbao.call("POST", "auth/token/revoke-accessor", accessor=accessor)
        while new.serial not in openbao.revoked():
            pass  # every call waits for an answer


class TestErrors:
    @pytest.mark.parametrize(
        ("role", "settings", "options", "code", "hint"),
        [
            ("nobody", None, {}, "vault_role", "bao list pki/roles"),
            ("narrow", {"allow_any_name": False}, {}, "vault_name", "bao read pki/roles/narrow"),
            ("no-ips", {"allow_ip_sans": False}, {}, "vault_name", "allow_ip_sans"),
            ("no-uris", {"allowed_uri_sans": ""}, {}, "vault_name", "allowed_uri_sans"),
            ("rsa-only", {"key_type": "rsa"}, {}, "vault_key", "key_type=any"),
            ("long", {"max_ttl": "9000h"}, {"ttl": "8000h"}, "vault_ttl", "bao read pki/cert/ca"),
            ("client", None, {"ttl": "soon"}, "vault_ttl", "ttl="),
            (
                "servers",
                {"client_flag": False, "server_flag": True},
                {},
                "vault_role",
                "bao patch pki/roles/servers client_flag=true",
            ),
        ],
    )
    def test_a_role_that_refuses(
        self,
        vault: Callable[..., Vault],
        openbao: OpenBao,
        current: Identity,
        role: str,
        settings: dict[str, Any] | None,
        options: dict[str, Any],
        code: str,
        hint: str,
    ) -> None:
        if settings is not None:
            openbao.role(role, **settings)
        error = refused(vault(role, **options), current)
        assert isinstance(error, RenewalRefusedError)
        assert error.code == code
        assert hint in str(error.hint)

    def test_a_policy_that_forbids_is_named(
        self, vault: Callable[..., Vault], openbao: OpenBao, current: Identity
    ) -> None:
        token = openbao.token(openbao.policy("elsewhere", "pki/sign/other"))
        error = refused(vault(token=token), current)
        assert (error.code, error.retryable) == ("vault_denied", False)
        assert 'path "pki/sign/client" { capabilities = ["update"] }' in str(error.hint)
        assert_silent(error, token)

    def test_a_wrong_mount(
        self, vault: Callable[..., Vault], openbao: OpenBao, current: Identity
    ) -> None:
        error = refused(vault(mount="nowhere", token=openbao.root_token), current)
        assert (error.code, error.retryable) == ("vault_mount", False)

    def test_sealed_it_is_tried_again_and_unsealed_it_works(
        self, vault: Callable[..., Vault], openbao: OpenBao, current: Identity
    ) -> None:
        renewer = vault()
        with openbao.sealed():
            error = refused(renewer, current)
            assert (error.code, error.retryable) == ("vault_sealed", True)
            assert "bao operator unseal" in str(error.hint)
        assert renewer.renew(current).subject == current.subject

    def test_a_rate_limit_passes(
        self, vault: Callable[..., Vault], openbao: OpenBao, current: Identity
    ) -> None:
        renewer = vault()
        path = "sys/quotas/rate-limit/tests"
        openbao.call("POST", path, path="pki/sign/client", rate=1, interval="10m")
        try:
            renewer.renew(current)
            error = refused(renewer, current)
        finally:
            openbao.call("DELETE", path)
        assert (error.code, error.retryable) == ("issuer_busy", True)

    def test_a_server_that_we_do_not_trust_gets_no_token(
        self, vault: Callable[..., Vault], other_ca: CA, current: Identity
    ) -> None:
        error = refused(vault(trust=Trust.from_pem(other_ca.pem)), current)
        assert (error.code, error.retryable) == ("server_untrusted", False)

    def test_a_redirect_to_the_active_node_is_not_followed(
        self, serve: Callable[..., Server], current: Identity, trust: Trust, openbao: OpenBao
    ) -> None:
        """The token would go along; no standby of OpenBao redirects as long as it can forward."""

        def answer(call: Call) -> Answer:
            return Answer(status=307, headers={"Location": f"{openbao.url}{call.path}"})

        server = serve(client_certificate="none", handler=answer)
        error = refused(
            Vault(server.url, role="client", token=openbao.root_token, trust=trust), current
        )
        assert (error.code, error.retryable) == ("vault_standby", True)
        assert openbao.url.removeprefix("https://") in str(error)
        assert len(server.calls) == 1

    @pytest.mark.parametrize(
        "body",
        [b"<html>", b"[]", b"{}", b'{"data": null}', b'{"data": {"certificate": 1}}'],
    )
    @pytest.mark.parametrize("issue", [False, True])
    def test_an_answer_of_no_use(
        self,
        serve: Callable[..., Server],
        current: Identity,
        trust: Trust,
        body: bytes,
        issue: bool,
    ) -> None:
        server = serve(client_certificate="none", handler=lambda _: Answer(body=body))
        error = refused(
            Vault(server.url, role="client", token="t", trust=trust, issue=issue), current
        )
        assert error.code in ("issuer_answer", "renewal_answer")
        assert error.retryable

    @pytest.mark.parametrize("body", [b'{"auth": {"client_token": ""}}', b'{"auth": 1}', b"{}"])
    def test_a_login_that_gives_no_token(
        self, serve: Callable[..., Server], current: Identity, trust: Trust, body: bytes
    ) -> None:
        server = serve(client_certificate="none", handler=lambda _: Answer(body=body))
        renewer = Vault(server.url, role="client", approle=AppRole("a", "b"), trust=trust)
        error = refused(renewer, current)
        assert (error.code, error.retryable) == ("vault_login", False)


class TestConfiguration:
    @pytest.mark.parametrize(
        "options",
        [
            {"token": "t", "approle": AppRole("r", "s")},
            {"token": "t", "cert_auth": True},
            {"approle": AppRole("r", "s"), "cert_auth": "name"},
            {"approle": ("r", "s")},
            {"token": 1},
            {"reuse_key": True, "issue": True},
            {"reuse_key": True, "key": "ec"},
            {"key": "dsa"},
            {"ttl": datetime.timedelta()},
            {"role": ""},
            {"role": "../../sys/seal"},
            {"mount": "pki?x"},
            {"namespace": "a b\r\nX: y"},
            {"url": "http://127.0.0.1:8200", "cert_auth": True},
            {"url": "http://vault.example:8200"},
        ],
    )
    def test_what_is_contradictory_is_refused_at_once(self, options: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError) as caught:
            Vault(**{"url": "https://vault.example", "role": "client", **options})
        assert caught.value.hint

    def test_slashes_around_a_mount_are_of_no_matter(
        self, vault: Callable[..., Vault], current: Identity
    ) -> None:
        assert vault(mount="/pki/").renew(current)

    def test_the_roots_beside_the_identity_may_count(
        self, vault: Callable[..., Vault], ca: CA, current: Identity
    ) -> None:
        with_roots = Identity(current.certificate, current.private_key, roots=[ca.certificate])
        assert vault(trust=Trust.of_identity()).renew(with_roots)
        with pytest.raises(mtls.IdentityError, match="no roots beside the identity"):
            vault(trust=Trust.of_identity()).renew(current)

    def test_plain_http_on_loopback_works(self, openbao: OpenBao, current: Identity) -> None:
        renewer = Vault(openbao.plain_url, role="client", token=openbao.token("signs"))
        assert renewer.renew(current)


class TestSecrecy:
    def test_nothing_that_prints_it_shows_a_secret(self) -> None:
        login = AppRole("r0le-id", "s3cret-id")
        for one in (login, Vault("https://v.example", role="r", approle=login)):
            assert "r0le-id" not in repr(one) + repr(getattr(one, "__dict__", ""))
            assert "s3cret-id" not in repr(one) + repr(getattr(one, "__dict__", ""))
        assert "t0ken" not in repr(vars(Vault("https://v.example", role="r", token="t0ken")))

    @pytest.mark.parametrize("token", ["t0ken-\u00fcber", "t0ken\r\nX-Evil: 1", "t0k\0en", " "])
    def test_a_token_that_no_header_takes_is_not_quoted(
        self, vault: Callable[..., Vault], current: Identity, token: str
    ) -> None:
        error = refused(vault(token=token), current)
        assert error.code == "renewal_secret"
        assert_silent(error, token.strip() or "\0")

    def test_a_server_that_repeats_the_token_is_not_quoted(
        self, serve: Callable[..., Server], current: Identity, trust: Trust
    ) -> None:
        def answer(call: Call) -> Answer:
            return Answer(status=400, body=call.headers["x-vault-token"].encode() + b" is bad")

        server = serve(client_certificate="none", handler=answer)
        error = refused(Vault(server.url, role="r", token="t0ken-t0ken", trust=trust), current)
        assert "is bad" in str(error)
        assert_silent(error, "t0ken-t0ken")


def test_it_is_a_renewer() -> None:
    assert isinstance(Vault("https://vault.example", role="client"), Renewer)


def test_the_example_renews_a_file(
    openbao: OpenBao, current: Identity, ca: CA, tmp_path: Path
) -> None:
    """`renew_with_vault.py`, as a user runs it: once as it should be, once with a wrong token."""
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    path = tmp_path / "client.pem"
    current.save_pem(path, password=None)

    def run(token: str) -> subprocess.CompletedProcess[str]:
        root = Path(__file__).parents[2]
        example = root / "examples" / "renew_with_vault.py"
        arguments = [openbao.url, "client", str(path), str(tmp_path / "ca.pem")]
        environment = {**os.environ, "PYTHONPATH": str(root), "BAO_TOKEN": token}
        return subprocess.run(
            [sys.executable, str(example), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            env=environment,
        )

    wrong = run("wr0ng-token")
    assert (wrong.returncode, wrong.stderr) == (1, "")
    assert "it will not pass by itself" in wrong.stdout
    assert Identity.from_pem(path.read_bytes()).fingerprint == current.fingerprint
    done = run(openbao.token("signs"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("CN=svc-orders until ")
    assert Identity.from_pem(path.read_bytes()).issuer == "CN=OpenBao CA"
