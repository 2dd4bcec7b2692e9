"""`mtls audit …`: audit logs, checked and summarised."""

from __future__ import annotations

import datetime
import json as jsonlib
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mtls_client._os.locks import held
from mtls_client.cli.failures import USAGE, Exit
from mtls_client.cli.identity import secret_bytes
from mtls_client.cli.terminal import complain, console, note
from mtls_client.hosts import HostPattern, normalised
from mtls_client.observers._chain import Checked, check
from mtls_client.observers._fields import rfc3339
from mtls_client.observers._summary import Summary

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["command"]

_BROKEN = 1
_LONGEST_LINE = 2**20

_key_option = click.option(
    "--key", metavar="WHERE", help="The key of the log: env:NAME, file:PATH or fd:N."
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Check an audit log, and see who called what with which certificate."""


@command.command()
@click.argument("files_", metavar="FILE…", nargs=-1, required=True)
@_key_option
@click.option("--head", metavar="HASH", help="A head noted earlier, which must still be there.")
@_json_option
def verify(files_: tuple[str, ...], key: str | None, head: str | None, as_json: bool) -> None:
    """Check that no line of FILE was changed, removed, repeated or moved.

    Several files, the oldest first, must continue each other. Note the head that is printed, and
    give it next time: lines that were cut from the end, or written anew, are found by it alone.
    """
    secret = secret_bytes(key, "--key") if key else None
    head = head.lower() if head else None
    before: Checked | None = None
    shown, intact, met = [], True, head is None
    for name in files_:
        checked = Checked()
        for _ in check(_lines(name), checked, key=secret, head=head):
            pass
        if not checked.hashed:
            raise _locked(name)
        if before is not None and before.head not in checked.continues:
            checked.wrong(1, "does not continue the file before it")
        before, met = checked, met or checked.met
        intact = intact and not checked.problems
        shown.append(_described(name, checked))
        if not as_json:
            _print_checked(shown[-1])
    if as_json:
        shown_all = {"intact": intact and met, "head_found": met, "files": shown}
        click.echo(jsonlib.dumps(shown_all, indent=2))
    if not met:
        raise Exit(
            _BROKEN,
            f"no line has the hash {head}",
            "lines were cut from the end or written anew, or the head is of another log",
        )
    if not intact:
        raise Exit(_BROKEN)


@command.command()
@click.argument("files_", metavar="FILE…", nargs=-1, required=True)
@_key_option
@click.option(
    "--since", metavar="TIME", help="From then on: 2026-11-25, 2026-11-25T14:00, 36h, 7d."
)
@click.option("--host", metavar="PATTERN", help="These hosts only: api.example.com, *.example.com.")
@_json_option
def show(
    files_: tuple[str, ...], key: str | None, since: str | None, host: str | None, as_json: bool
) -> None:
    """Show who called what with which certificate, and what failed.

    A call is a handshake: requests that share a connection are one.
    """
    secret = secret_bytes(key, "--key") if key else None
    begin = _moment(since) if since else None
    pattern = HostPattern.parse(normalised(host) if "*" not in host else host) if host else None
    summary, broken = Summary(), False
    for name in files_:
        checked = Checked()
        for members in check(_lines(name), checked, key=secret):
            if begin and members["at"] < begin:
                continue
            if pattern and not _matches(pattern, members.get("host")):
                continue
            summary.add(members)
        broken = broken or bool(checked.problems)
        if not checked.hashed:
            note(f"{name} was written with a key, so it is not checked; give --key WHERE")
        elif checked.problems:
            hint = f"look what is wrong: mtls audit verify {shlex.quote(name)}"
            complain(f"{name} is not intact: what follows may be false", hint)
    if as_json:
        click.echo(jsonlib.dumps(summary.described(), indent=2))
    else:
        _print_summary(summary.described())
    if broken:
        raise Exit(_BROKEN)


def _lines(name: str) -> Iterator[bytes]:
    """Yield the lines that are there now, while others may go on writing."""
    try:
        with Path(name).open("rb") as file:
            with held(file.fileno(), 5.0):
                left = os.fstat(file.fileno()).st_size
            while left > 0 and (line := file.readline(min(left, _LONGEST_LINE))):
                left -= len(line)
                yield line
    except OSError as error:
        raise Exit(USAGE, f"{name}: {error.strerror or error}".lower()) from error


def _locked(name: str) -> Exit:
    return Exit(
        USAGE,
        f"{name} was written with a key, and cannot be checked without it",
        "give it with --key env:NAME, --key file:PATH or --key fd:N",
    )


def _described(name: str, checked: Checked) -> dict[str, Any]:
    return {
        "file": name,
        "intact": not checked.problems,
        "keyed": checked.keyed,
        "lines": checked.lines,
        "first": checked.first,
        "last": checked.last,
        "head": checked.head and checked.head._asdict(),
        "continues": [one._asdict() for one in checked.continues],
        "problems": [{"line": one.line, "message": one.message} for one in checked.problems],
        "notes": [{"line": one.line, "message": one.message} for one in checked.notes],
    }


def _print_checked(one: dict[str, Any]) -> None:
    verdict = "intact" if one["intact"] else "broken"
    kind = "with the key" if one["keyed"] else "without a key"
    click.echo(f"{one['file']}: {verdict}, {one['lines']} lines, checked {kind}")
    if one["first"]:
        click.echo(f"  from  {_printable(one['first'])}\n  to    {_printable(one['last'])}")
    if one["head"]:
        click.echo(f"  head  {one['head']['hash']}")
    for problem in one["problems"]:
        complain(_printable(f"{one['file']}: line {problem['line']}: {problem['message']}"))
    for remark in one["notes"]:
        note(_printable(f"{one['file']}: line {remark['line']}: {remark['message']}"))


def _print_summary(described: dict[str, Any]) -> None:
    output = console()
    if described["first"]:
        output.print(f"{_short(described['first'])} to {_short(described['last'])} UTC")
    columns: dict[str, tuple[tuple[str, str], ...]] = {
        "calls": (
            ("host", "host"),
            ("certificate", "serial"),
            ("calls", "count"),
            ("first", "first"),
            ("last", "last"),
        ),
        "failures": (
            ("host", "host"),
            ("certificate", "serial"),
            ("reason", "reason"),
            ("times", "count"),
            ("last", "last"),
        ),
        "changes": (
            ("time", "first"),
            ("what", "event"),
            ("certificate", "serial"),
            ("about", "reason"),
        ),
    }
    for part, titles in columns.items():
        if described[part]:
            output.print(f"\n{part}", style="bold")
            output.print(_table(described[part], titles))


def _table(rows: list[dict[str, Any]], titles: tuple[tuple[str, str], ...]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title, _ in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(name, row[name])) for _, name in titles))
    return table


def _cell(name: str, value: object) -> str:
    if name in ("first", "last"):
        return _short(str(value))
    return "-" if value is None else _printable(str(value))


def _short(moment: str) -> str:
    return _printable(moment[:19].replace("T", " "))


def _printable(text: str) -> str:
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def _matches(pattern: HostPattern, host: object) -> bool:
    return isinstance(host, str) and pattern.matches(host)


def _moment(text: str) -> str:
    """Return a time or age as the log writes times."""
    try:
        if text[-1:] in ("h", "d") and text[:-1].isdecimal():
            age = datetime.timedelta(**{{"h": "hours", "d": "days"}[text[-1]]: int(text[:-1])})
            moment = datetime.datetime.now(datetime.UTC) - age
        else:
            moment = datetime.datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise Exit(
            USAGE, f"--since {text}: not a time", "write 2026-11-25, 2026-11-25T14:00, 36h or 7d"
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return rfc3339(moment)
