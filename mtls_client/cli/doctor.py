"""`mtls doctor [URL]`: all that is wrong with an identity, or with calling a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mtls_client.cli.failures import USAGE, Exit
from mtls_client.cli.identity import doubtful_source_of, identity_options, trust_of, trust_options
from mtls_client.cli.terminal import console

if TYPE_CHECKING:
    from mtls_client.doctor import Report

__all__ = ["command"]

_PROBLEMS = 1
_COLOURS = {"error": "red", "warning": "yellow", "info": "cyan"}


@click.command()
@click.argument("url", required=False)
@identity_options
@trust_options
@click.option("--no-request", is_flag=True, help="Shake hands only, do not GET the URL.")
@click.option("-m", "--max-time", type=float, default=10.0, help="Seconds for each step (10).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    url: str | None, no_request: bool, max_time: float, as_json: bool, **options: Any
) -> None:
    """Find out why a call fails, or will fail.

    Without a URL the identity alone is examined, and nothing leaves this machine. The exit code
    is 1 if there is an error.
    """
    from mtls_client.doctor import diagnose

    names = ("cert", "key", "password", "select", "uri")
    source = doubtful_source_of(**{name: options.pop(name) for name in names})
    if source is None and url is None:
        raise Exit(USAGE, "nothing to examine", "give --cert FILE, --identity URI or a URL")
    report = diagnose(
        source, url, trust=trust_of(**options), request=not no_request, timeout=max_time
    )
    if as_json:
        click.echo(report.to_json())
    else:
        _print(report)
    if not report.ok:
        raise Exit(_PROBLEMS)


def _print(report: Report) -> None:
    from rich.text import Text

    output = console()
    for finding in report.findings:
        text = Text(str(finding))
        text.stylize(_COLOURS[finding.severity], 0, len(finding.severity))
        output.print(text)
    output.print(report.summary, style="green" if report.ok else "red")
