"""The `mtls` command.

`mtls URL …` makes a call with curl's options; `mtls show`, `mtls doctor` and others are words. The
command for a word is imported when the word is said: `mtls show` needs no HTTP client.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import click

__all__ = ["main"]

_WORDS = {
    "audit": "audit",
    "csr": "csr",
    "demo": "demo",
    "doctor": "doctor",
    "identity": "identities",
    "inventory": "inventory",
    "needs-renewal": "needs_renewal",
    "pins": "pins",
    "renew": "renew",
    "show": "show",
}
"""In which module the command for a word is."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    word = given.pop(0) if given and given[0] in _WORDS else None
    module = _WORDS[word] if word else "call"
    from mtls_client.cli.failures import exit_code_of

    command: click.Command = importlib.import_module(f"mtls_client.cli.{module}").command
    name = f"mtls {word}" if word else "mtls"

    def run() -> None:
        with command.make_context(name, given) as context:
            command.invoke(context)

    sys.exit(exit_code_of(run))
