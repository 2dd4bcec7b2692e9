"""The rules of the terminal.

* the body goes to standard output, everything else to standard error;
* colour is for terminals, and NO_COLOR (no-color.org) is honoured;
* a message is lower-case, has no period at its end, and begins with `mtls:`;
* nothing is asked unless there is a person to answer.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["asked_password", "attended", "complain", "confirmed", "console", "note"]


def console(*, stderr: bool = False) -> Console:
    """Return a rich console that leaves text as it is."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 200
    return Console(stderr=stderr, highlight=False, markup=False, soft_wrap=True, width=width)


def complain(message: str, hint: str | None = None) -> None:
    """Print an error, and what to do about it."""
    _say(f"mtls: {message}", "red")
    if hint:
        click.echo(f"hint: {hint}", err=True)


def note(message: str) -> None:
    """Print something worth knowing."""
    _say(f"mtls: {message}", "yellow")


def asked_password(what: str, *, new: bool = False) -> str | None:
    """Ask for a password without showing it, a new one twice; None if nobody is there."""
    if not attended():
        return None
    password: str = click.prompt(
        f"password for {what}", hide_input=True, confirmation_prompt=new, err=True
    )
    return password


def confirmed(question: str) -> bool | None:
    """Ask a question; None if nobody is there."""
    return click.confirm(question, err=True) if attended() else None


def attended() -> bool:
    """Tell whether there is a person to answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _say(message: str, colour: str) -> None:
    coloured = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    click.echo(click.style(message, fg=colour) if coloured else message, err=True)
