"""`mtls needs-renewal`: whether a certificate is due, for scripts and timers."""

from __future__ import annotations

import datetime
from typing import Any

import click

from mtls_client.cli.certificate import leaf_of
from mtls_client.cli.failures import USAGE, Exit
from mtls_client.cli.identity import identity_options, secret
from mtls_client.cli.policy import policy_of, policy_options
from mtls_client.errors import MTLSError

__all__ = ["command"]

_NOT_DUE = 1


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@identity_options
@policy_options
@click.option("-s", "--quiet", is_flag=True, help="Print nothing but errors.")
def command(
    cert: str | None,
    key: str | None,  # noqa: ARG001 (taken, as other commands take it, and not read)
    password: str | None,
    select: str | None,
    uri: str | None,
    quiet: bool,
    **policy: Any,
) -> None:
    """Exit with 0 if our certificate is due for renewal, 1 if it is not, 2 if it cannot be read.

    \b
    mtls needs-renewal --cert client.pem --before 30d && ./renew.sh

    The key is not needed, nor its password. What an ACME server says about when to renew is not
    asked for.
    """
    try:
        when = policy_of(**policy)
        leaf = leaf_of(cert, secret(password), select, uri)
    except MTLSError as error:
        raise Exit(USAGE, str(error.args[0]), error.hint) from error
    due = when.due(leaf)
    is_due = datetime.datetime.now(datetime.UTC) >= due
    if not quiet:
        word = "due since" if is_due else "not due before"
        click.echo(f"{word} {_utc(due)}: {leaf.subject}, until {_utc(leaf.not_after)}")
    if not is_due:
        raise Exit(_NOT_DUE)


def _utc(when: datetime.datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC"
