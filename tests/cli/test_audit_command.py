"""`mtls audit` says whether a log is intact, and what it tells."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

import mtls_client as mtls
from mtls_client.observers import AuditLog
from mtls_client.testing import CA, Server
from tests.cli.conftest import Run
from tests.clients import fetch, native_errors
from tests.observers.samples import completed, reloaded

KEY = "0123456789abcdef"


@pytest.fixture
def log(
    folder: Path, server: Server, identity: mtls.Identity, untrusted_identity: mtls.Identity, ca: CA
) -> Path:
    """A log of two good calls, a refused one and a mismatch."""
    path = folder / "audit.jsonl"
    observers, trust = [AuditLog(path)], mtls.Trust.from_pem(ca.pem)
    for kind in ("requests", "asyncio"):
        fetch(kind, identity, server.url, trust=trust, observers=observers)
    with pytest.raises(native_errors("requests")):
        fetch("requests", untrusted_identity, server.url, trust=trust, observers=observers)
    pinned = mtls.Trust.from_pem(ca.pem, pins=["sha256/" + "A" * 43 + "="])
    with pytest.raises(native_errors("httpx")):
        fetch("httpx", identity, server.url, trust=pinned, observers=observers)
    return path


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_an_intact_log(log: Path, mtls: Run) -> None:
    done = mtls("audit", "verify", "audit.jsonl")
    assert (done.returncode, done.stderr) == (0, b"")
    first, begin, end, head = done.stdout.decode().splitlines()
    assert first == f"audit.jsonl: intact, {len(lines(log))} lines, checked without a key"
    assert begin.startswith("  from  20")
    assert end.endswith("Z")
    assert head == f"  head  {json.loads(lines(log)[-1])['hash']}"


def test_a_changed_and_a_removed_line(log: Path, mtls: Run) -> None:
    data = lines(log)
    data[1] = data[1].replace(b"localhost", b"localh0st")
    del data[3]
    log.write_bytes(b"".join(data))
    done = mtls("audit", "verify", "audit.jsonl")
    assert done.returncode == 1
    assert done.stdout.startswith(b"audit.jsonl: broken")
    assert done.stderr.decode().splitlines() == [
        "mtls: audit.jsonl: line 2: changed: its hash is not that of its content",
        "mtls: audit.jsonl: line 4: has number 4 after 2: lines are missing before it",
    ]


def test_a_cut_end_is_found_by_the_head(log: Path, mtls: Run) -> None:
    head = json.loads(lines(log)[-1])["hash"]
    AuditLog(log)(completed())
    assert mtls("audit", "verify", "audit.jsonl", "--head", head.upper()).returncode == 0
    log.write_bytes(b"".join(lines(log)[:-2]))
    assert mtls("audit", "verify", "audit.jsonl").returncode == 0
    done = mtls("audit", "verify", "audit.jsonl", "--head", head)
    assert done.returncode == 1
    assert done.stderr.decode().splitlines() == [
        f"mtls: no line has the hash {head}",
        "hint: lines were cut from the end or written anew, or the head is of another log",
    ]


def test_a_log_with_a_key(folder: Path, mtls: Run) -> None:
    (folder / "audit.key").write_text(KEY + "\n")
    AuditLog(folder / "keyed.jsonl", key=folder / "audit.key")(completed())
    for where in ("file:audit.key", "env:K"):
        done = mtls("audit", "verify", "keyed.jsonl", "--key", where, K=KEY)
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"intact, 2 lines, checked with the key" in done.stdout
    done = mtls("audit", "verify", "keyed.jsonl")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"cannot be checked without it\nhint: give it with --key" in done.stderr
    done = mtls("audit", "verify", "keyed.jsonl", "--key", "env:K", K=KEY + "x")
    assert done.returncode == 1
    done = mtls("audit", "verify", "keyed.jsonl", "--key", KEY)
    assert done.returncode == 2
    assert KEY.encode() not in done.stderr
    done = mtls("audit", "show", "keyed.jsonl")
    assert done.returncode == 0
    assert b"so it is not checked; give --key WHERE" in done.stderr


def test_files_that_continue_each_other(folder: Path, mtls: Run) -> None:
    audit = AuditLog(folder / "audit.log")
    for number in (2, 1):
        audit(completed())
        (folder / "audit.log").rename(folder / f"audit.log.{number}")
    audit(completed())
    files = ["audit.log.2", "audit.log.1", "audit.log"]
    done = mtls("audit", "verify", *files)
    assert (done.returncode, done.stderr) == (0, b"")
    done = mtls("audit", "verify", files[0], files[2])
    assert done.returncode == 1
    assert done.stderr == b"mtls: audit.log: line 1: does not continue the file before it\n"


def test_a_torn_line_that_was_noticed_is_a_note(log: Path, mtls: Run) -> None:
    with log.open("ab") as file:
        file.write(b'{"seq":')
    done = mtls("audit", "verify", "audit.jsonl")
    assert done.returncode == 1
    assert b"incomplete: torn by a crash, or cut" in done.stderr
    AuditLog(log)
    done = mtls("audit", "verify", "audit.jsonl")
    assert done.returncode == 0
    assert b"torn by a crash or a full disk, as the next line says" in done.stderr


@pytest.mark.parametrize("word", ["verify", "show"])
def test_no_file(word: str, mtls: Run, folder: Path) -> None:
    done = mtls("audit", word, "absent.jsonl")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"mtls: absent.jsonl: no such file or directory\n"
    assert mtls("audit", word, ".").returncode == 2
    assert mtls("audit", word).returncode == 2
    assert not (folder / "absent.jsonl").exists()


def test_verify_prints_json(log: Path, mtls: Run) -> None:
    shown = json.loads(mtls("audit", "verify", "audit.jsonl", "--json").stdout)
    [one] = shown["files"]
    assert (shown["intact"], one["problems"], one["lines"]) == (True, [], len(lines(log)))
    log.write_bytes(b"".join(lines(log)[1:]))
    done = mtls("audit", "verify", "audit.jsonl", "--json")
    [one] = json.loads(done.stdout)["files"]
    assert (done.returncode, done.stderr) == (1, b"")
    assert one["problems"] == [{"line": 1, "message": "has number 1: the beginning is missing"}]


def test_show_tells_who_called_what_and_what_failed(
    log: Path, mtls: Run, identity: mtls.Identity, untrusted_identity: mtls.Identity
) -> None:
    AuditLog(log)(reloaded())
    done = mtls("audit", "show", "audit.jsonl")
    assert (done.returncode, done.stderr) == (0, b"")
    text = " ".join(done.stdout.decode().split())
    assert f"localhost {identity.serial} 2 20" in text
    assert f"localhost {untrusted_identity.serial} refused our certificate: untrusted 1" in text
    assert f"localhost {identity.serial} no pinned key 1" in text
    assert "IdentityReloaded 2f" in text
    assert "pin_mismatch" not in text, "a failure is counted once"


def test_show_prints_json(log: Path, mtls: Run, identity: mtls.Identity) -> None:
    shown = json.loads(mtls("audit", "show", "audit.jsonl", "--json").stdout)
    ours = [row for row in shown["calls"] if row["fingerprint"] == identity.fingerprint]
    assert [(row["host"], row["count"]) for row in ours] == [("localhost", 2)]
    assert sorted(row["event"] for row in shown["failures"]) == ["IdentityRejected", "PinMismatch"]


def test_show_selects(folder: Path, mtls: Run) -> None:
    audit = AuditLog(folder / "some.jsonl")
    old = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=3)
    audit(completed("old.example.com", at=old))
    audit(completed("api.example.com"))
    audit(completed("example.org"))

    def hosts(*options: str) -> list[str]:
        done = mtls("audit", "show", "some.jsonl", "--json", *options)
        assert (done.returncode, done.stderr) == (0, b"")
        return [row["host"] for row in json.loads(done.stdout)["calls"]]

    assert hosts() == ["old.example.com", "api.example.com", "example.org"]
    for since in ("36h", "2d", f"{old + datetime.timedelta(hours=1):%Y-%m-%dT%H:%M}"):
        assert hosts("--since", since) == ["api.example.com", "example.org"]
    assert hosts("--since", "4d", "--host", "*.example.com") == [
        "old.example.com",
        "api.example.com",
    ]
    assert hosts("--host", "Example.org") == ["example.org"]
    done = mtls("audit", "show", "some.jsonl", "--since", "yesterday")
    assert done.returncode == 2
    assert b"write 2026-11-25, 2026-11-25T14:00, 36h or 7d" in done.stderr
    assert mtls("audit", "show", "some.jsonl", "--host", "https://x/").returncode == 2


def test_show_says_that_a_log_is_not_intact(log: Path, mtls: Run) -> None:
    log.write_bytes(log.read_bytes().replace(b"localhost", b"elsewhere", 1))
    done = mtls("audit", "show", "audit.jsonl")
    assert done.returncode == 1
    assert b"is not intact: what follows may be false" in done.stderr
    assert b"localhost" in done.stdout


@pytest.mark.parametrize("host", ["\x1b[31mred", "a\nb", "[bold]x[/bold]", "\u202ex"])
def test_a_hostile_host_does_not_reach_the_terminal(host: str, folder: Path, mtls: Run) -> None:
    AuditLog(folder / "some.jsonl")(completed(host))
    for options in ([], ["--json"]):
        done = mtls("audit", "show", "some.jsonl", *options)
        assert (done.returncode, done.stderr) == (0, b"")
        text = done.stdout.decode()
        assert not any(c in text for c in ("\x1b", "\u202e", "a\nb"))
    if host.startswith("["):
        assert host in text


def test_a_file_that_is_no_log(mtls: Run) -> None:
    done = mtls("audit", "verify", "client.pem")
    assert done.returncode == 1
    assert b"client.pem: line 1: not a line of an audit log" in done.stderr
