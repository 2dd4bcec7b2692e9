"""What `mtls demo` shows: a few lines of code each, and the stage that they run on."""

from __future__ import annotations

import contextlib
import datetime
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mtls_client as mtls
from mtls_client.events import IdentityRenewed
from mtls_client.testing import CA, Server

__all__ = ["SCENES", "Scene", "Stage"]


@dataclass(frozen=True, slots=True)
class Scene:
    """One thing that is shown.

    Attributes:
        title: what it is about.
        code: what a user writes; it is what runs.
        expected: the error that must come of it, or None for a call that succeeds.
    """

    title: str
    code: str
    expected: type[mtls.MTLSError] | None


SCENES = (
    Scene(
        "an accepted call",
        """
        source = mtls.FileSource("client.p12", password="demo")
        with mtls.Session(source, trust=mtls.Trust.from_file("ca.pem")) as session:
            answer = session.get(url)
        """,
        None,
    ),
    Scene(
        "the same through httpx",
        """
        source = mtls.FileSource("client.pem", "client.key")
        with mtls.Client(source, trust=mtls.Trust.from_file("ca.pem")) as client:
            answer = client.get(url)
        """,
        None,
    ),
    Scene(
        "a call without a certificate",
        """
        trust = mtls.Trust.from_file("ca.pem")
        with mtls.Session(None, trust=trust) as session:
            answer = session.get(url)
        """,
        mtls.IdentityRejectedError,
    ),
    Scene(
        "an expired certificate is told before it is sent",
        """
        source = mtls.FileSource("expired.pem")
        with mtls.Session(source, trust=mtls.Trust.from_file("ca.pem")) as session:
            answer = session.get(url)
        """,
        mtls.IdentityExpiredError,
    ),
    Scene(
        "an expired certificate, presented all the same: the server says no",
        """
        credential = mtls.Credential(mtls.FileSource("expired.pem"), present_unusable=True)
        with mtls.Session(credential, trust=mtls.Trust.from_file("ca.pem")) as session:
            answer = session.get(url)
        """,
        mtls.IdentityRejectedError,
    ),
    Scene(
        "new files while threads are calling: no request fails",
        """
        credential = mtls.Credential(mtls.FileSource("client.pem", "client.key"))
        with mtls.Session(credential, trust=mtls.Trust.from_file("ca.pem")) as session:
            with calling(session, threads=4) as calls:
                for _ in range(10):
                    replace_files()              # what cert-manager, certbot or step do
                    credential.reload()          # or just wait: requests look once a second
                    credential.wait_drained()    # nobody uses the old certificate any more,
                    revoke_old()                 # and the server refuses it
        """,
        None,
    ),
    Scene(
        "a certificate that is due renews itself",
        """
        def renew(current):
            request = mtls.renewers.Request.renewing(current)      # a fresh key, the same names
            return request.joined(issuer.sign(request.pem))        # Vault, ACME, EST, a command, …

        source = mtls.FileSource("due.pem")
        with mtls.Credential(source, renewer=renew, on_renewed=renewed) as credential:
            wait_renewed()
            with mtls.Session(credential, trust=mtls.Trust.from_file("ca.pem")) as session:
                answer = session.get(url)
        """,
        None,
    ),
    Scene(
        "a server that does not hold the pinned key",
        """
        trust = mtls.Trust.from_file("ca.pem", pins=["sha256/" + 43 * "A" + "="])
        with mtls.Client(mtls.FileSource("client.pem", "client.key"), trust=trust) as client:
            answer = client.get(url)
        """,
        mtls.PinMismatchError,
    ),
)


@dataclass
class Calls:
    """What threads saw that called all the time.

    Attributes:
        subjects: the client that the server named in each answer.
        serials: the certificates that it named.
        failures: what went wrong.
    """

    subjects: list[str] = field(default_factory=list)
    serials: set[str] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)


class Stage:
    """A throwaway CA, a server that demands a certificate, and a folder with files.

    Attributes:
        names: what the scenes' code may use.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._ca = folder, CA("Demo CA")
        identity = self._ca.issue("server", dns=["localhost"], client=False, server=True)
        self._server = Server(identity, client_ca=self._ca)
        (folder / "ca.pem").write_bytes(self._ca.pem)
        self._old: list[mtls.Identity] = []
        self._client = self._replace_files()
        self._client.save_pkcs12(folder / "client.p12", password="demo")  # noqa: S106 (it is a demonstration)
        past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=30)
        self._ca.issue(
            "demo-client", not_before=past, not_after=past + datetime.timedelta(days=7)
        ).save_pem(folder / "expired.pem", password=None)
        now = datetime.datetime.now(datetime.UTC)
        week = datetime.timedelta(days=7)
        self._ca.issue("demo-client", not_before=now - 3 * week, not_after=now + week).save_pem(
            folder / "due.pem", password=None
        )
        self._renewals: list[IdentityRenewed] = []
        self.url = self._server.url
        self.names: dict[str, object] = {
            "mtls": _InFolder(folder),
            "url": self.url,
            "calling": self._calling,
            "replace_files": self._replace_files,
            "revoke_old": self._revoke_old,
            "issuer": self._ca,
            "renewed": self._renewals.append,
            "wait_renewed": self._wait_renewed,
        }

    def __enter__(self) -> Stage:
        self._server.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._server.__exit__(*exception)

    def told(self, names: dict[str, Any]) -> tuple[str, bool]:
        """Return what a scene's code has shown in a line, and whether it is as promised."""
        if (calls := names.get("calls")) is not None:
            good = not calls.failures and {*calls.subjects} == {"demo-client"}
            good = good and len(calls.serials) > 1
            counts = f"{len(calls.subjects)} requests, {len(calls.failures)} failed"
            return f"{counts}; the server saw {len(calls.serials)} certificates", good
        seen = names["answer"].json()
        code = names["answer"].status_code
        told = f"HTTP {code}, {seen['version']}: the server saw CN={seen['subject']}"
        good = seen["subject"] == "demo-client"
        if "renew" in names:
            (event,) = self._renewals
            told = f"renewed and saved, until {event.not_after:%Y-%m-%d %H:%M} UTC; {told}"
            good = good and event.saved and seen["serial"] == event.serial
        return told, good

    @contextlib.contextmanager
    def _calling(self, session: mtls.Session, threads: int) -> Iterator[Calls]:
        calls, stop = Calls(), threading.Event()

        def call() -> None:
            while not stop.is_set():
                try:
                    seen = session.get(self.url, timeout=10).json()
                    calls.subjects.append(seen["subject"])
                    calls.serials.add(seen["serial"])
                except Exception as error:
                    calls.failures.append(f"{type(error).__name__}: {error}")

        running = [threading.Thread(target=call) for _ in range(threads)]
        for thread in running:
            thread.start()
        try:
            yield calls
        finally:
            stop.set()
            for thread in running:
                thread.join()

    def _replace_files(self) -> mtls.Identity:
        client = self._ca.issue("demo-client")
        client.save_pem(self._folder / "client.pem", password=None)
        client.save_pem(self._folder / "client.key", password=None)
        self._old.append(client)
        return client

    def _revoke_old(self) -> None:
        self._server.switch(self._ca, self._ca.crl(self._old[:-1]))

    def _wait_renewed(self) -> None:
        end = time.monotonic() + 10
        while not self._renewals and time.monotonic() < end:
            time.sleep(0.01)


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
