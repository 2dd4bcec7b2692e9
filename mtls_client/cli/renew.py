"""`mtls renew`: renew an identity once, or keep it fresh."""

from __future__ import annotations

import datetime
import os
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mtls_client.cli.failures import FAILED, USAGE, Exit
from mtls_client.cli.identity import identity_options, source_of, trust_of, trust_options
from mtls_client.cli.issuers import issuer_options, renewer_of
from mtls_client.cli.policy import policy_of, policy_options
from mtls_client.cli.terminal import complain, note
from mtls_client.credential import Credential
from mtls_client.events import (
    Event,
    IdentityExpiring,
    IdentityReloaded,
    IdentityRenewed,
    IdentitySaved,
    RenewalFailed,
)
from mtls_client.identity import Identity
from mtls_client.sources import Savable

__all__ = ["command"]

_PROGRAM_TIME = 60.0


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("program", nargs=-1)
@identity_options
@issuer_options
@trust_options
@policy_options
@click.option("--force", is_flag=True, help="Renew although it is not due.")
@click.option("--daemon", is_flag=True, help="Keep running, and renew whenever it is due.")
@click.option("--exec", "after", metavar="COMMAND", help="Run this after each renewal (no shell).")
@click.option("--pid", type=int, help="Send a signal to this process after each renewal.")
@click.option("--pid-file", metavar="FILE", help="The same, with the number in a file.")
@click.option("--signal", "name", metavar="NAME", help="Which signal (HUP).")
@click.option("-s", "--quiet", is_flag=True, help="Print nothing but errors.")
def command(program: tuple[str, ...], **options: Any) -> None:
    """Renew our certificate if it is due, and save it where the old one is.

    \b
    mtls renew --cert client.pem --vault https://bao:8200 --role orders --token env:VAULT_TOKEN
    mtls renew --cert client.crt --key client.key --est https://est.example.com --cacert ca.pem
    mtls renew --cert client.crt --key client.key -- step ca renew --force client.crt client.key
    mtls renew --identity keyring:bank --step-ca https://ca.internal --daemon

    --cacert, --pin and their like say whom to trust as the issuer.
    """
    source = source_of(
        options["cert"], options["key"], options["password"], options["select"], options["uri"]
    )
    trust_names = ("cacert", "pins", "crlfile", "tls12", "tls13", "tls_max", "allow_legacy_ca")
    trust = trust_of(**{name: options[name] for name in trust_names})
    renewer = renewer_of(options, program, source, trust)
    policy = policy_of(options["fraction"], options["before"], options["jitter"])
    if not isinstance(source, Savable):
        raise Exit(USAGE, "what --identity names cannot be written to", "name files or a keyring")
    if not program:
        source.check_savable()
    follow_up = _FollowUp(options["after"], options["pid"], options["pid_file"], options["name"])
    say: Callable[[str], None] = (lambda _: None) if options["quiet"] else note
    reports = _Reports(say, follow_up)
    credential = Credential(
        source, renewer=renewer, policy=policy, auto=options["daemon"], observers=[reports]
    )
    if options["daemon"]:
        _keep(credential, say)
    else:
        _once(credential, say, reports, force=options["force"])


def _once(
    credential: Credential, say: Callable[[str], None], reports: _Reports, *, force: bool
) -> None:
    credential.renew(only_if_due=not force)
    if not reports.renewed:
        identity = credential.identity
        say(f"not due before {_utc(credential.renewal_due)}: {_summary(identity)}")
    if reports.failed:
        raise Exit(FAILED)


def _keep(credential: Credential, say: Callable[[str], None]) -> None:
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with credential:
        say(f"due on {_utc(credential.renewal_due)}: {_summary(credential.identity)}")
        ended.wait()


class _Reports:
    """Tells a person what happens, and lets others follow a renewal.

    Attributes:
        renewed: a new identity has been taken over.
        failed: something of it went wrong.
    """

    def __init__(self, say: Callable[[str], None], follow_up: _FollowUp) -> None:
        self._say, self._follow_up = say, follow_up
        self.renewed = self.failed = False

    def __call__(self, event: Event) -> None:
        match event:
            case IdentityReloaded():
                self.renewed = True
                self._say(f"the certificate is {event.serial} now, until {_utc(event.not_after)}")
                self.failed |= not self._follow_up.done()
            case IdentityRenewed():
                for text in event.notes:
                    self._say(f"note: {text}")
            case RenewalFailed():
                self.failed = True
                again = f"; tried again in {event.retry_in:.0f} s" if event.retry_in else ""
                if event.retry_in or event.code in ("save_failed", "not_savable"):
                    complain(f"{event.message}{again}", event.hint)
            case IdentitySaved():
                self._say("it is saved now")
            case IdentityExpiring():
                self._say(f"the certificate expires on {_utc(event.not_after)}")


class _FollowUp:
    """What is to be done after each renewal.

    Args:
        program: a command line, which no shell sees.
        pid: a process to send a signal to.
        pid_file: a file with the number of one.
        name: the name of the signal.

    Raises:
        Exit: one of them makes no sense.
    """

    def __init__(
        self, program: str | None, pid: int | None, pid_file: str | None, name: str | None
    ) -> None:
        try:
            self._program = shlex.split(program) if program is not None else []
        except ValueError as error:
            raise Exit(USAGE, f"--exec: {error}".lower(), "mind the quotes") from error
        if program is not None and not self._program:
            raise Exit(USAGE, "--exec: an empty command", "name the program to run")
        if pid is not None and pid_file is not None:
            raise Exit(USAGE, "--pid and --pid-file say the same", "give one of them")
        if name is not None and pid is None and pid_file is None:
            raise Exit(USAGE, "--signal without a process", "give --pid or --pid-file")
        name = name or "HUP"
        self._pid, self._pid_file = pid, Path(pid_file) if pid_file else None
        full = name.upper() if name.upper().startswith("SIG") else f"SIG{name.upper()}"
        if full not in signal.Signals.__members__:
            raise Exit(USAGE, f"--signal: there is no signal {name}", "write HUP or USR1")
        self._signal = signal.Signals[full]

    def done(self) -> bool:
        """Do it; tell whether all of it went well, after a complaint if not."""
        return all([self._ran(), self._sent()])

    def _ran(self) -> bool:
        if not self._program:
            return True
        try:
            done = subprocess.run(  # noqa: S603 (what the user says, without a shell)
                self._program, stdin=subprocess.DEVNULL, timeout=_PROGRAM_TIME, check=False
            )
        except OSError as error:
            complain(
                f"--exec: {self._program[0]} cannot be run: {error.strerror}".lower(),
                "check its name: it is looked for in PATH, and no shell sees it",
            )
            return False
        except subprocess.TimeoutExpired:
            complain(f"--exec: {self._program[0]} has not ended in {_PROGRAM_TIME:.0f} s")
            return False
        if done.returncode:
            complain(f"--exec: {self._program[0]} ended with {done.returncode}")
        return not done.returncode

    def _sent(self) -> bool:
        try:
            pid = int(self._pid_file.read_text()) if self._pid_file else self._pid
        except ValueError:
            complain(f"--pid-file: there is no number in {self._pid_file}", "look what wrote it")
            return False
        except OSError as error:
            complain(f"--pid-file: {self._pid_file}: {error.strerror}".lower(), "check the path")
            return False
        try:
            if pid is not None:
                os.kill(pid, self._signal)
        except OSError as error:
            complain(f"--pid: {error.strerror}".lower(), "look whether the process still runs")
            return False
        return True


def _summary(identity: Identity) -> str:
    return f"{identity.subject}, until {_utc(identity.not_after)}"


def _utc(when: datetime.datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC"
