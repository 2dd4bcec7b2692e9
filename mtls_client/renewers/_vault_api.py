"""The HTTP API of OpenBao and HashiCorp Vault: a call, its answer, and what its errors mean.

Both speak the same API; hints name the command `bao`, which is `vault` with HashiCorp's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from mtls_client.errors import RenewalError
from mtls_client.renewers._http import Issuer, refusal

if TYPE_CHECKING:
    import httpx

__all__ = ["API"]


class API:
    """Makes calls to one server in one namespace.

    Args:
        issuer: the server.
        namespace: the namespace, or None for the root's.
    """

    def __init__(self, issuer: Issuer, namespace: str | None) -> None:
        self._issuer = issuer
        # agents and proxies may insist on the first: no browser can be made to send it
        self._headers = {"X-Vault-Request": "true"}
        if namespace:
            self._headers["X-Vault-Namespace"] = namespace

    def post(
        self,
        path: str,
        body: Mapping[str, object],
        *,
        token: str | None = None,
        secrets: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        """Make a call and return the answer; an empty one has nothing in it.

        Args:
            path: what follows `/v1/`.
            body: the parameters.
            token: on whose behalf.
            secrets: what else must not be in an error.

        Raises:
            RenewalError: see its `code`; `vault_sealed`, `vault_standby` and `issuer_busy` pass.
            RenewalRefusedError: `vault_denied`, `vault_login`, `vault_mount`, `vault_role`,
                `vault_name`, `vault_key`, `vault_ttl`, or `renewal_refused` for the rest.
        """
        headers = self._headers | ({"X-Vault-Token": token} if token else {})
        response = self._issuer.call("POST", f"v1/{path}", headers=headers, json=body)
        if response.status_code == 204:
            return {}
        if response.status_code != 200:
            raise self._error(response, path, (*secrets, token) if token else secrets)
        try:
            answer: dict[str, Any] = response.json()
            return {**answer}
        except (ValueError, TypeError) as error:
            raise RenewalError(
                f"the issuer {self._issuer.host} does not answer {path} in JSON",
                hint="check its URL: is it OpenBao or Vault that answers there?",
                code="issuer_answer",
            ) from error

    def _error(self, response: httpx.Response, path: str, secrets: tuple[str, ...]) -> RenewalError:
        said = _said(response)
        where = f"{said} {path}" if path.startswith("auth/") else said
        fitting = (
            one
            for one in _MEANINGS
            if response.status_code in one.statuses and re.search(one.said, where)
        )
        meaning = next(fitting, _UNKNOWN)
        operation, _, role = path.rpartition("/")
        return refusal(
            response,
            f"the issuer {self._issuer.host} refuses {path}: {said or 'without a reason'}",
            hint=meaning.hint.format(path=path, mount=operation.rpartition("/")[0], role=role),
            code=meaning.code,
            passes=meaning.passes,
            secrets=secrets,
        )


def _said(response: httpx.Response) -> str:
    if response.is_redirect:
        return f"it redirects to {urlsplit(response.headers['location']).netloc}"
    try:
        said = "; ".join(map(str, response.json()["errors"]))
    except (ValueError, TypeError, KeyError):
        said = response.text
    return re.sub(r"\d+ errors? occurred:\s*\* ", "", said).strip()


class _Meaning(NamedTuple):
    """What an error means.

    Attributes:
        statuses: the status codes it comes with.
        said: what is said, a regular expression.
        code: the code of our error.
        hint: what to do; it may name the path, the mount and the role.
        passes: it is over sooner or later.
    """

    statuses: range
    said: str
    code: str | None
    hint: str
    passes: bool = False


_ANY = range(400, 600)
_UNKNOWN = _Meaning(_ANY, "", None, "look in the server's log for the same request")
_MEANINGS = (
    _Meaning(
        range(300, 400),
        "",
        "vault_standby",
        "it is a standby that does not forward: give the address of the active node, or of a load "
        "balancer that asks /v1/sys/health",
        passes=True,
    ),
    _Meaning(
        _ANY,
        "not active|standby mode",
        "vault_standby",
        "no node is active: bao operator members; an election takes some seconds",
        passes=True,
    ),
    _Meaning(
        _ANY,
        "is sealed|not initialized",
        "vault_sealed",
        "unseal it: bao status, bao operator unseal; if it is new, bao operator init",
        passes=True,
    ),
    _Meaning(
        range(412, 413),
        "",
        "issuer_busy",
        "this replica has not caught up; it is tried again",
        passes=True,
    ),
    _Meaning(
        range(429, 430),
        "",
        "issuer_busy",
        "a rate limit, see: bao list sys/quotas/rate-limit",
        passes=True,
    ),
    _Meaning(_ANY, "to an HTTPS server", "issuer_url", "write https:// in the URL"),
    _Meaning(_ANY, "namespace not found", "vault_mount", "check namespace=: bao namespace list"),
    _Meaning(
        range(400, 404),
        r" auth/\S+/login$",
        "vault_login",
        "check what is presented, and the mount of the method: bao auth list (without a method "
        "there, it is `permission denied` too)",
    ),
    _Meaning(
        range(403, 404),
        "",
        "vault_denied",
        "has the token expired (bao token lookup)? its policy must say: "
        'path "{path}" {{ capabilities = ["update"] }}',
    ),
    _Meaning(
        range(404, 406),
        "no handler for route|unsupported",
        "vault_mount",
        "check mount= and namespace=: bao secrets list",
    ),
    _Meaning(_ANY, "unknown role", "vault_role", "check role= and mount=: bao list {mount}/roles"),
    _Meaning(
        _ANY,
        "keys of type|key_type|key bits|bit length",
        "vault_key",
        "pass a key= that the role allows, or let it allow more: bao patch {mount}/roles/{role} "
        "key_type=any",
    ),
    _Meaning(
        _ANY,
        "TTL|ttl|duration",
        "vault_ttl",
        "pass another ttl=; no certificate outlives its CA: bao read {mount}/cert/ca",
    ),
    _Meaning(
        _ANY,
        "not allowed|common_name",
        "vault_name",
        "the role must allow the names that the certificate has: bao read {mount}/roles/{role}, "
        "see allowed_domains, allow_any_name, enforce_hostnames, allowed_uri_sans, allow_ip_sans",
    ),
    _Meaning(_ANY, "no default issuer", "vault_mount", "give it a CA: bao list {mount}/issuers"),
)
"""The first that fits counts."""
