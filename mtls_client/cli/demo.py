"""`mtls demo`: what this library does, shown on a throwaway CA and a loopback server."""

from __future__ import annotations

import datetime
import tempfile
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

import mtls_client as mtls
from mtls_client.cli.failures import Exit
from mtls_client.cli.terminal import console
from mtls_client.testing import CA, Server

__all__ = ["command"]


@dataclass(frozen=True, slots=True)
class _Scene:
    """One thing that is shown.

    Attributes:
        title: what it is about.
        code: what a user writes; it is what runs.
        expected: the error that must come of it, or None for a call that succeeds.
    """

    title: str
    code: str
    expected: type[mtls.MTLSError] | None


_SCENES = (
    _Scene(
        "an accepted call",
        """
        source = mtls.FileSource("client.p12", password="demo")
        with mtls.Session(source, trust=mtls.Trust.from_file("ca.pem")) as session:
            answer = session.get(url)
        """,
        None,
    ),
    _Scene(
        "the same through httpx",
        """
        source = mtls.FileSource("client.pem", "client.key")
        with mtls.Client(source, trust=mtls.Trust.from_file("ca.pem")) as client:
            answer = client.get(url)
        """,
        None,
    ),
    _Scene(
        "a call without a certificate",
        """
        trust = mtls.Trust.from_file("ca.pem")
        with mtls.Session(None, trust=trust) as session:
            answer = session.get(url)
        """,
        mtls.IdentityRejectedError,
    ),
    _Scene(
        "an expired certificate is told before it is sent",
        """
        source = mtls.FileSource("expired.pem")
        with mtls.Session(source, trust=mtls.Trust.from_file("ca.pem")) as session:
            answer = session.get(url)
        """,
        mtls.IdentityExpiredError,
    ),
    _Scene(
        "an expired certificate, presented all the same: the server says no",
        """
        credential = mtls.Credential(mtls.FileSource("expired.pem"), present_unusable=True)
        with mtls.Session(credential, trust=mtls.Trust.from_file("ca.pem")) as session:
            answer = session.get(url)
        """,
        mtls.IdentityRejectedError,
    ),
    _Scene(
        "new files while threads are calling: no request fails",
        """
        credential = mtls.Credential(mtls.FileSource("client.pem", "client.key"))
        with mtls.Session(credential, trust=mtls.Trust.from_file("ca.pem")) as session:
            with calling(session, threads=4) as calls:
                for _ in range(10):
                    replace_files()              # cert-manager, certbot, step …
                    credential.reload()          # or just wait: a request looks once a second
                    credential.wait_drained()    # from here on, the old certificate may be revoked
        """,
        None,
    ),
    _Scene(
        "a server that does not hold the pinned key",
        """
        trust = mtls.Trust.from_file("ca.pem", pins=["sha256/" + 43 * "A" + "="])
        with mtls.Client(mtls.FileSource("client.pem", "client.key"), trust=trust) as client:
            answer = client.get(url)
        """,
        mtls.PinMismatchError,
    ),
)


@click.command()
def command() -> None:
    """Show accepted and refused calls against a throwaway CA and server on this machine."""
    output = console()
    ca = CA("Demo CA")
    identity = ca.issue("server", dns=["localhost"], client=False, server=True)
    with tempfile.TemporaryDirectory() as folder, Server(identity, client_ca=ca) as server:
        _write(Path(folder), ca)
        output.print(f"a throwaway CA, and a server at {server.url} that demands a certificate")
        results = [_play(scene, Path(folder), server.url, output.print) for scene in _SCENES]
    output.print()
    if not all(results):
        raise Exit(1, f"{results.count(False)} of {len(results)} scenes went otherwise than told")
    output.print("all went as told", style="green")
    output.print("now yours:  mtls --cert client.p12 --cacert ca.pem https://…")


def _write(folder: Path, ca: CA) -> None:
    (folder / "ca.pem").write_bytes(ca.pem)
    client = ca.issue("demo-client")
    client.save_pkcs12(folder / "client.p12", password="demo")  # noqa: S106 (it is a demonstration)
    client.save_pem(folder / "client.pem", password=None)
    client.save_pem(folder / "client.key", password=None)
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=30)
    expired = ca.issue("demo-client", not_before=past, not_after=past + datetime.timedelta(days=7))
    expired.save_pem(folder / "expired.pem", password=None)


def _play(scene: _Scene, folder: Path, url: str, say: Callable[..., None]) -> bool:
    code = textwrap.dedent(scene.code).strip()
    say(f"\n{scene.title}", style="bold cyan")
    say(textwrap.indent(code, "    "))
    names: dict[str, object] = {"mtls": _InFolder(folder), "url": url}
    try:
        exec(compile(code, "<demo>", "exec"), names)  # noqa: S102 (the text above, and no other)
    except mtls.MTLSError as error:
        says = [f"{type(error).__name__}: {error.args[0]}", f"hint: {error.hint}"]
        say(textwrap.indent("\n".join(says), "  -> "), style="yellow")
        return scene.expected is not None and isinstance(error, scene.expected)
    answer = names["answer"]
    seen = answer.json()  # type: ignore[attr-defined]  # a response of requests or httpx
    told = f"HTTP {answer.status_code}, {seen['version']}: the server saw CN={seen['subject']}"  # type: ignore[attr-defined]
    say(f"  -> {told}", style="green")
    return scene.expected is None and seen["subject"] == "demo-client"


class _InFolder:
    """`mtls_client` as the scenes see it: their file names are in the demonstration's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __getattr__(self, name: str) -> object:
        if name == "FileSource":
            return lambda *paths, **rest: mtls.FileSource(*map(self._in, paths), **rest)
        if name == "Trust":
            return self
        return getattr(mtls, name)

    def from_file(self, path: str, **options: object) -> mtls.Trust:
        return mtls.Trust.from_file(self._in(path), **options)  # type: ignore[arg-type]

    def _in(self, path: str) -> Path:
        return self._folder / path
