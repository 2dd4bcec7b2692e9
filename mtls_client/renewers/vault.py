"""Renewal by the PKI engine of OpenBao or HashiCorp Vault."""

from __future__ import annotations

import contextlib
import datetime
import re
from typing import TYPE_CHECKING, Any

from cryptography import x509

from mtls_client._tls.anchors import rooted
from mtls_client.errors import (
    ConfigurationError,
    IdentityError,
    RenewalError,
    RenewalRefusedError,
)
from mtls_client.identity import Identity, noted
from mtls_client.renewers._http import Issuer, checked_url
from mtls_client.renewers._redaction import redacted
from mtls_client.renewers._vault_api import API
from mtls_client.renewers._vault_auth import AppRole, CertAuth, Given, way_in
from mtls_client.renewers.csr import KeyKind, Request
from mtls_client.trust import Trust

if TYPE_CHECKING:
    from cryptography.x509.general_name import GeneralName

__all__ = ["Vault"]

_SEGMENTS = re.compile(r"\w[\w.@+~-]*(?:/\w[\w.@+~-]*)*", re.ASCII)
_KEYS: dict[str, tuple[str, int]] = {
    "ec": ("ec", 256),
    "ec384": ("ec", 384),
    "ec521": ("ec", 521),
    "ed25519": ("ed25519", 0),
    "rsa": ("rsa", 2048),
    "rsa3072": ("rsa", 3072),
    "rsa4096": ("rsa", 4096),
}


class Vault:
    """Renews with `sign/ROLE` of a PKI engine: our key never leaves this process.

    Subject, names and usages of the current certificate are asked for again; what the role does
    not grant, or grants in another way (a shorter life), is in the `notes` of the new identity.

    A token that a login has given is revoked after use. With `generate_lease=true` on the role
    the certificate would be revoked with it, so then the token is left to expire. A note says
    so.

    Args:
        url: the server's address; `https`, or `http` to this machine.
        role: the role of the PKI engine.
        mount: where the engine is mounted.
        token: a token: a str or bytes, a `Path` to a file, read at each renewal, or a function,
            called at each. Without any way to log in: BAO_TOKEN, VAULT_TOKEN or
            `~/.vault-token`, in this order, as the commands `bao` and `vault` do.
        approle: log in with an `AppRole` instead.
        cert_auth: log in with the current certificate instead: True, the name of a certificate
            role, or a `CertAuth`. It works while the certificate is valid.
        namespace: the namespace of the engine and of the login.
        ttl: the life to ask for, a timedelta or Vault's text (`72h`); the role's if None.
        trust: what the server must prove.
        issue: have the server make the key (`issue/ROLE`) and send it.
        reuse_key: keep the private key instead of making one of the same kind.
        key: the kind of the new key, if it is to be another one.
        timeout: how many seconds each step of a call may take.

    Raises:
        ConfigurationError: the arguments contradict each other, or the URL is of no use.

    Example:
        >>> renewer = Vault(
        ...     "https://bao.internal:8200",
        ...     role="orders",
        ...     approle=AppRole("7c1c…", Path("/run/secrets/secret-id")),
        ... )  # doctest: +SKIP
    """

    def __init__(
        self,
        url: str,
        *,
        role: str,
        mount: str = "pki",
        token: Given | None = None,
        approle: AppRole | None = None,
        cert_auth: CertAuth | str | bool | None = None,
        namespace: str | None = None,
        ttl: datetime.timedelta | str | None = None,
        trust: Trust = Trust.system(),
        issue: bool = False,
        reuse_key: bool = False,
        key: KeyKind | None = None,
        timeout: float = 30.0,
    ) -> None:
        self._url = str(checked_url(url))
        self._login = way_in(token, approle, cert_auth)
        if self._login.presents and not self._url.startswith("https:"):
            raise _contradiction("cert_auth= over plain http", "a certificate login needs https")
        if reuse_key and (issue or key):
            raise _contradiction("reuse_key= with issue= or key=", "leave one of them out")
        if key is not None and key not in _KEYS:
            raise _contradiction(f"key={key!r}", f"write one of {', '.join(_KEYS)}")
        if isinstance(ttl, datetime.timedelta) and ttl < datetime.timedelta(seconds=1):
            raise _contradiction(f"ttl={ttl!r}", "give a time of a second or more")
        self._role = _segments("role", role)
        self._mount = _segments("mount", mount)
        self._namespace = _segments("namespace", namespace) if namespace else None
        self._ttl = f"{int(ttl.total_seconds())}s" if isinstance(ttl, datetime.timedelta) else ttl
        self._trust, self._timeout = trust, timeout
        self._issue, self._reuse_key, self._key = issue, reuse_key, key

    def renew(self, current: Identity) -> Identity:
        """Have a new certificate issued.

        Raises:
            RenewalError: see its `code`; `retryable` if it passes by itself, as a sealed server.
            RenewalRefusedError: somebody must change something; the hint says what.
        """
        presented = current if self._login.presents else None
        trust = rooted(self._trust, current)
        with Issuer(self._url, trust, identity=presented, timeout=self._timeout) as issuer:
            api = API(issuer, self._namespace)
            token = self._login.token(api, current)
            leased = False
            try:
                new, answer = self._issued(api, current, token.value)
                leased = bool(answer.get("lease_id"))
            finally:
                if token.temporary and not leased:
                    with contextlib.suppress(RenewalError):  # it expires anyway
                        api.post("auth/token/revoke-self", {}, token=token.value)
        if not new.usable_for_client_auth:
            raise RenewalRefusedError(
                f"the role {self._role} issues certificates that are not for clients",
                hint=f"bao patch {self._mount}/roles/{self._role} client_flag=true",
                code="vault_role",
            )
        warnings = [one for one in answer.get("warnings") or () if not self._expected(str(one))]
        notes = [*map(str, warnings), *_lost(current, new)]
        if leased:
            notes.append(
                "it is revoked when the token that asked for it ends, unless: "
                f"bao patch {self._mount}/roles/{self._role} generate_lease=false"
            )
        return noted(new, map(redacted, notes))

    def _issued(self, api: API, current: Identity, token: str) -> tuple[Identity, dict[str, Any]]:
        body = _names(current.certificate) | ({"ttl": self._ttl} if self._ttl else {})
        if self._issue:
            body |= {"private_key_format": "pkcs8"} | self._kind(current)
            answer = api.post(f"{self._mount}/issue/{self._role}", body, token=token)
            return _joined(answer, None), answer
        request = Request.renewing(current, reuse_key=self._reuse_key, key=self._key)
        body["csr"] = request.pem.decode()
        answer = api.post(f"{self._mount}/sign/{self._role}", body, token=token)
        return _joined(answer, request), answer

    def _kind(self, current: Identity) -> dict[str, object]:
        """Return the kind of key to ask for; a role that has one of its own ignores it."""
        like = current.key_type.lower(), current.key_bits
        if like[0] == "rsa":
            like = "rsa", max(like[1], 2048)
        name, bits = _KEYS[self._key] if self._key else like
        return {"key_type": name, "key_bits": 0 if name.startswith("ed") else bits}

    def _expected(self, warning: str) -> bool:
        # names are sent beside the CSR, for roles that do not look into it
        if "was provided but the role is set with" in warning:
            return True
        return self._key is None and "key_type and key_bits ignored" in warning

    def __repr__(self) -> str:
        return f"Vault({self._url!r}, role={self._role!r}, mount={self._mount!r})"


def _contradiction(what: str, hint: str) -> ConfigurationError:
    return ConfigurationError(f"Vault: {what}", hint=hint, code="vault_configuration")


def _segments(what: str, given: str) -> str:
    text = given.strip("/")
    if not _SEGMENTS.fullmatch(text):
        raise _contradiction(f"{what}={given!r}", f"write the {what} as in: bao secrets list")
    return text


def _names(certificate: x509.Certificate) -> dict[str, object]:
    """Return the names of a certificate as the API takes them beside a CSR."""
    alternatives = _alternatives(certificate)

    def listed(*kinds: type[GeneralName]) -> str:
        return ",".join(str(one.value) for one in alternatives if isinstance(one, kinds))

    found: dict[str, object] = {
        "alt_names": listed(x509.DNSName, x509.RFC822Name),
        "ip_sans": listed(x509.IPAddress),
        "uri_sans": listed(x509.UniformResourceIdentifier),
    }
    common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    if common:
        found["common_name"] = str(common[0].value)
    # else it would be one more DNS name from now on
    return {name: value for name, value in found.items() if value} | {"exclude_cn_from_sans": True}


def _alternatives(certificate: x509.Certificate) -> list[GeneralName]:
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            return list(extension.value)
    return []


def _joined(answer: dict[str, Any], request: Request | None) -> Identity:
    """Join what was issued to our key, or to the one that came along if there was no request."""
    try:
        data = answer["data"]
        chain = data.get("ca_chain") or [data["issuing_ca"]]
        leaf, *further = (one.encode() for one in (data["certificate"], *chain))
        if request is not None:
            return request.joined(leaf, *further)
        return Identity.from_key_pair(leaf, data["private_key"].encode(), chain=further)
    except (KeyError, TypeError, AttributeError, IdentityError) as error:
        raise RenewalError(
            "the issuer's answer is of no use: not a certificate with its key",
            hint="look at what it has issued; the present identity stays",
            code="renewal_answer",
        ) from error


def _lost(current: Identity, new: Identity) -> list[str]:
    """Return what the role has not kept."""
    granted = _alternatives(new.certificate)
    notes = [
        f"the role has left out the {type(name).__name__} {name.value}"
        for name in _alternatives(current.certificate)
        if name not in granted
    ]
    if current.certificate.subject != new.certificate.subject:
        notes.append(f"the subject was {current.subject} and is {new.subject}")
    return notes
