"""`mtls demo`: what this library does, shown on a throwaway CA and a loopback server."""

from __future__ import annotations

import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path

import click

import mtls_client as mtls
from mtls_client.cli._scenes import SCENES, Scene, Stage
from mtls_client.cli.failures import Exit
from mtls_client.cli.terminal import console

__all__ = ["command"]


@click.command()
def command() -> None:
    """Show accepted and refused calls against a throwaway CA and server on this machine."""
    output = console()
    with tempfile.TemporaryDirectory() as folder, Stage(Path(folder)) as stage:
        output.print(f"a throwaway CA, and a server at {stage.url} that demands a certificate")
        results = [_play(scene, stage, output.print) for scene in SCENES]
    output.print()
    if not all(results):
        raise Exit(1, f"{results.count(False)} of {len(results)} scenes went otherwise than told")
    output.print("all went as told", style="green")
    output.print("now yours:  mtls --cert client.p12 --cacert ca.pem https://…")


def _play(scene: Scene, stage: Stage, say: Callable[..., None]) -> bool:
    code = textwrap.dedent(scene.code).strip()
    say(f"\n{scene.title}", style="bold cyan")
    say(textwrap.indent(code, "    "))
    names = dict(stage.names)
    try:
        exec(compile(code, "<demo>", "exec"), names)  # noqa: S102 (a text of ours, and no other)
    except mtls.MTLSError as error:
        says = [f"{type(error).__name__}: {error.args[0]}", f"hint: {error.hint}"]
        say(textwrap.indent("\n".join(says), "  -> "), style="yellow")
        return scene.expected is not None and isinstance(error, scene.expected)
    told, good = stage.told(names)
    say(f"  -> {told}", style="green" if good else "red")
    return scene.expected is None and good
