"""`mtls inventory FOLDER`: what its files are, which belong together, and how to call with them."""

from __future__ import annotations

import json as jsonlib
from typing import TYPE_CHECKING

import click

from mtls_client.cli.identity import password_option, secret
from mtls_client.cli.terminal import console, note

if TYPE_CHECKING:
    from mtls_client.doctor import Inventory

__all__ = ["command"]


@click.command()
@click.argument("folder")
@password_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(folder: str, password: str | None, as_json: bool) -> None:
    """Tell what the files of FOLDER are, and the call that each identity amounts to.

    Private keys are named and matched, never printed.
    """
    from mtls_client.doctor import inventory

    found = inventory(folder, password=secret(password))
    if as_json:
        click.echo(jsonlib.dumps(found.to_dict(), indent=2, ensure_ascii=False))
    else:
        _print(found)
    if not found.complete:
        note("there are more files than are looked at; name a folder below")


def _print(found: Inventory) -> None:
    output = console()
    for one in found.identities:
        until = f", until {one.not_after[:10]}" if one.not_after else ""
        notes = ", locked" * one.locked + ", told by the names of the files only" * (
            not one.certain
        )
        output.print(f"{one.subject or 'an identity'}{until}{notes}", style="bold green")
        output.print(f"    {', '.join(one.files)}")
        if one.also:
            output.print(f"    also in {', '.join(one.also)}")
        output.print(f"    {one.command}\n    {one.python}")
    if not found.identities:
        output.print("no identity")
    for file in found.files:
        output.print(f"\n{file.path}", style="bold")
        for line in file.holds:
            output.print(f"    {line}")
        if file.problem:
            output.print(f"    {file.problem}", style="yellow")
    if found.unrelated:
        output.print(f"\nunrelated: {', '.join(found.unrelated)}")
