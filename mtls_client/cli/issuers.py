"""The issuer that the options of `mtls renew` describe."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from mtls_client import renewers
from mtls_client.cli.failures import USAGE, Exit
from mtls_client.cli.identity import secret
from mtls_client.renewers.csr import KeyKind

if TYPE_CHECKING:
    from mtls_client.renewers import Renewer
    from mtls_client.sources import Source
    from mtls_client.trust import Trust

__all__ = ["issuer_options", "renewer_of"]

_F = TypeVar("_F", bound=Callable[..., Any])

_BELONGS = {
    "vault": ("role", "mount", "namespace", "ttl", "token", "role_id", "secret_id", "cert_auth"),
    "acme": (
        "account_key", "webroot", "standalone", "eab_kid", "eab_key", "agree_tos", "contact",
    ),
    "est": ("label", "user", "user_pass"),
    "step_ca": ("step_token",),
    "program": (),
}  # fmt: skip
"""Which options go with which issuer."""


def issuer_options(function: _F) -> _F:
    """Add the options that say who renews."""
    for option in reversed(
        [
            click.option("--vault", metavar="URL", help="OpenBao or HashiCorp Vault."),
            click.option("--role", metavar="NAME", help="Vault: the role of the PKI engine."),
            click.option("--mount", metavar="PATH", help="Vault: where the engine is (pki)."),
            click.option("--namespace", metavar="PATH", help="Vault: the namespace."),
            click.option("--ttl", metavar="TTL", help="Vault: the life to ask for, like 72h."),
            click.option("--token", metavar="WHERE", help="Vault: env:NAME, file:PATH or fd:N."),
            click.option("--role-id", metavar="ID", help="Vault: log in with AppRole …"),
            click.option("--secret-id", metavar="WHERE", help="… and this secret ID."),
            click.option("--cert-auth", is_flag=True, help="Vault: log in with our certificate."),
            click.option("--acme", metavar="URL", help="The directory of an ACME server."),
            click.option("--account-key", metavar="FILE", help="ACME: made if it is not there."),
            click.option("--webroot", metavar="DIR", help="ACME: a web server shows this folder."),
            click.option(
                "--standalone", type=int, metavar="PORT", help="ACME: answer on this port."
            ),
            click.option("--eab-kid", metavar="ID", help="ACME: external account binding …"),
            click.option("--eab-key", metavar="WHERE", help="… and its HMAC key."),
            click.option("--agree-tos", is_flag=True, help="ACME: agree to the server's terms."),
            click.option("--contact", multiple=True, metavar="URI", help="ACME: mailto:…"),
            click.option("--est", metavar="URL", help="An EST server (RFC 7030)."),
            click.option("--label", metavar="NAME", help="EST: which of its CAs."),
            click.option("--user", metavar="NAME", help="EST: a user name …"),
            click.option("--user-pass", metavar="WHERE", help="… and its password."),
            click.option("--step-ca", metavar="URL", help="A step-ca server."),
            click.option("--step-token", metavar="WHERE", help="step-ca: a one-time token."),
            click.option(
                "--new-key",
                type=click.Choice(get_args(KeyKind)),
                help="Make a key of this kind, not of the present one's.",
            ),
            click.option("--reuse-key", is_flag=True, help="Keep the private key."),
        ]
    ):
        function = option(function)
    return function


def renewer_of(
    options: dict[str, Any], program: tuple[str, ...], source: Source, trust: Trust
) -> Renewer:
    """Return the renewer that options describe.

    Args:
        options: what `issuer_options` has read.
        program: the words after `--`.
        source: what a program renews in place.
        trust: what the issuer must prove.

    Raises:
        Exit: there is no issuer, or several, or options of another one.
        ConfigurationError: see the renewer.
    """
    named = [name for name in _BELONGS if options.get(name)] + ["program"] * bool(program)
    if len(named) != 1:
        raise Exit(
            USAGE,
            "several issuers were named" if named else "no issuer was named",
            "give one of --vault, --acme, --est, --step-ca, or a program after --",
        )
    (kind,) = named
    for other, names in _BELONGS.items():
        for name in names if other != kind else ():
            if options[name]:
                raise Exit(USAGE, f"{_dashed(name)} goes with {_dashed(other)}")
    if options["new_key"] and options["reuse_key"]:
        raise Exit(USAGE, "--new-key and --reuse-key contradict each other", "give one of them")
    key: dict[str, Any] = {"key": options["new_key"], "reuse_key": options["reuse_key"]}
    if kind == "program":
        if options["new_key"] or options["reuse_key"]:
            raise Exit(USAGE, "the program decides on the key, not --new-key or --reuse-key")
        if options["cacert"] or options["pins"] or options["crlfile"]:
            raise Exit(USAGE, "--cacert, --pin and --crlfile go with an issuer, not a program")
        return renewers.Command(list(program), then=source)
    url: str = options[kind]
    match kind:
        case "vault":
            return _vault(url, options, trust, key)
        case "acme":
            return _acme(url, options, trust, key)
        case "est":
            return renewers.EST(
                url,
                label=options["label"],
                username=options["user"],
                password=secret(options["user_pass"], "--user-pass"),
                trust=trust,
                **key,
            )
    token = secret(options["step_token"], "--step-token")
    return renewers.StepCA(url, token=token, trust=trust, **key)


def _vault(url: str, options: dict[str, Any], trust: Trust, key: dict[str, Any]) -> Renewer:
    if not options["role"]:
        raise Exit(USAGE, "--vault without --role", "name the role: bao list pki/roles")
    if (options["role_id"] is None) != (options["secret_id"] is None):
        raise Exit(USAGE, "--role-id and --secret-id go together")
    if options["role_id"] and options["token"]:
        raise Exit(USAGE, "--token and --role-id are two ways to log in", "give one of them")
    approle = None
    if options["role_id"]:
        secret_id = secret(options["secret_id"], "--secret-id")
        assert secret_id is not None, "a place was given"
        approle = renewers.AppRole(options["role_id"], secret_id)
    return renewers.Vault(
        url,
        role=options["role"],
        mount=options["mount"] or "pki",
        namespace=options["namespace"],
        ttl=options["ttl"],
        token=secret(options["token"], "--token"),
        approle=approle,
        cert_auth=options["cert_auth"] or None,
        trust=trust,
        **key,
    )


def _acme(url: str, options: dict[str, Any], trust: Trust, key: dict[str, Any]) -> Renewer:
    if not options["account_key"]:
        raise Exit(USAGE, "--acme without --account-key", "name a file; it is made if need be")
    if (options["webroot"] is None) == (options["standalone"] is None):
        raise Exit(USAGE, "--acme wants one of --webroot DIR and --standalone PORT")
    if (options["eab_kid"] is None) != (options["eab_key"] is None):
        raise Exit(USAGE, "--eab-kid and --eab-key go together")
    return renewers.ACME(
        url,
        account_key=options["account_key"],
        solver=renewers.Webroot(options["webroot"])
        if options["webroot"]
        else renewers.Standalone(options["standalone"]),
        eab=renewers.EAB(options["eab_kid"], secret(options["eab_key"], "--eab-key"))
        if options["eab_kid"]
        else None,
        contact=options["contact"],
        agree_to_terms=options["agree_tos"],
        trust=trust,
        **key,
    )


def _dashed(name: str) -> str:
    return "a program" if name == "program" else "--" + name.replace("_", "-")
