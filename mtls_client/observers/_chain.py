"""The chain of an audit log: how a line is written, and how a file of them is checked. No I/O.

A line is one JSON object in ASCII. Its last member, `hash`, is the SHA-256 of the bytes of the
line before it (with a key, their HMAC-SHA-256), `prev` is the hash of the line before and `seq`
counts lines from 0. So a line vouches for all lines above it.

Five kinds of line are not events. `LogBegun` is the first of a file. `LogContinues` has the last
line of the file that was moved away, as the process that writes it has seen that. `LineTorn`
describes what a crash or a full disk has left above it. `EventsDropped` counts what could not be
written. `LinesLost` says that the file has become shorter while it was in use.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["Checked", "Head", "Problem", "begun", "check", "read", "torn", "whole", "written"]

_BEFORE_HASH = b',"hash":"'
_TAIL = len(_BEFORE_HASH) + 64 + len(b'"}')
_NONE = "0" * 64
_KEYED = b',"algorithm":"hmac-sha256",'
_MOST = 100
_RESERVED = frozenset({"seq", "prev", "hash"})


class Head(NamedTuple):
    """The last line of a log, as the next one refers to it."""

    seq: int
    hash: str


def written(content: dict[str, Any], after: Head | None, key: bytes | None) -> tuple[bytes, Head]:
    """Return a line for some content, and the head that it makes.

    Args:
        content: what the line says.
        after: the line before it, or None for the first.
        key: the key of the log, or None.
    """
    seq, prev = (after.seq + 1, after.hash) if after else (0, _NONE)
    members = {"seq": seq, "prev": prev}
    members |= {name: value for name, value in content.items() if name not in _RESERVED}
    body = json.dumps(members, separators=(",", ":"))[:-1].encode("ascii")
    head = Head(seq, _hash(body, key))
    return body + _BEFORE_HASH + head.hash.encode() + b'"}\n', head


def begun(key: bytes | None) -> dict[str, Any]:
    """Return what a `LogBegun` says."""
    return {"format": 1, "algorithm": "sha256" if key is None else "hmac-sha256"}


def read(line: bytes, key: bytes | None, *, hashed: bool = True) -> dict[str, Any] | None:
    """Return the members of a line; None if it is no line that `written` could have made.

    Args:
        line: with its end of line.
        key: the key of the log, or None.
        hashed: whether its hash is checked, which takes the key.
    """
    if not whole(line):
        return None
    body, hash_ = line[: -_TAIL - 1], line[-67:-3]
    if hashed and not hmac.compare_digest(_hash(body, key).encode(), hash_):
        return None
    try:
        members = json.loads(line)
    except (ValueError, RecursionError):
        return None
    sound = (
        isinstance(members, dict)
        and type(members.get("seq")) is int
        and all(isinstance(members.get(name), str) for name in ("prev", "hash", "at", "event"))
    )
    return members if sound else None


def whole(line: bytes) -> bool:
    """Tell whether a line has the end of one, so that it cannot be torn, only changed."""
    return line.endswith(b'"}\n') and line[-_TAIL - 1 :].startswith(_BEFORE_HASH)


def torn(remains: bytes) -> dict[str, Any]:
    """Return what a `LineTorn` says of what a crash has left behind the last good line."""
    remains = remains.removesuffix(b"\n")
    return {"bytes": len(remains), "sha256": hashlib.sha256(remains).hexdigest()}


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong with a line, which is counted from 1."""

    line: int
    message: str


@dataclass(slots=True, kw_only=True)
class Checked:
    """What a check has found so far; complete when `check` has ended.

    Attributes:
        lines: how many lines there are.
        first: the earliest time, as text.
        last: the latest.
        head: the last line that could be read.
        continues: the heads of files moved away that this one says it follows.
        keyed: whether the file was written with a key.
        hashed: whether the hashes could be checked: with the key, or where there is none.
        met: whether the hash that was looked for is there.
        problems: what is wrong, the first hundred.
        notes: what is worth knowing, the first hundred.
    """

    lines: int = 0
    first: str | None = None
    last: str | None = None
    head: Head | None = None
    continues: list[Head] = field(default_factory=list)
    keyed: bool = False
    hashed: bool = True
    met: bool = False
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)

    def wrong(self, line: int, message: str) -> None:
        """Add a problem."""
        if len(self.problems) < _MOST:
            self.problems.append(Problem(line, message))

    def remark(self, line: int, message: str) -> None:
        """Add a note."""
        if len(self.notes) < _MOST:
            self.notes.append(Problem(line, message))


def check(
    lines: Iterable[bytes], checked: Checked, *, key: bytes | None = None, head: str | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the members of every line that can be read, and note what is wrong.

    Args:
        lines: of the file, each with its end of line.
        checked: is filled in.
        key: the key of the log.
        head: a hash to look for.
    """
    broken: list[tuple[int, bytes]] = []  # lines in a row, which the next good one may explain
    for number, line in enumerate(lines, 1):
        checked.lines = number
        if checked.head is None:
            # the first line tells which kind of hash the others have
            checked.keyed = _KEYED in line
            checked.hashed = key is not None or not checked.keyed
        members = read(line, key if checked.keyed else None, hashed=checked.hashed)
        if members is None:
            broken.append((number, line))
            if len(broken) > _MOST:
                _judge(broken, checked)
            continue
        if members["event"] != "LogBegun" or checked.head is not None:
            _judge(broken, checked, members)
        _follow(number, members, checked)
        _mention(number, members, checked)
        checked.head = Head(members["seq"], members["hash"])
        # processes wait for each other, so times need not be in order
        checked.first = min(checked.first or members["at"], members["at"])
        checked.last = max(checked.last or "", members["at"])
        checked.met = checked.met or members["hash"] == head
        yield members
    _judge(broken, checked)
    if checked.lines == 0:
        checked.wrong(1, "the file is empty")
    elif key is not None and not checked.keyed:
        checked.wrong(1, "written without a key")


def _hash(body: bytes, key: bytes | None) -> str:
    if key is None:
        return hashlib.sha256(body).hexdigest()
    return hmac.digest(key, body, "sha256").hex()


def _judge(
    broken: list[tuple[int, bytes]], checked: Checked, after: dict[str, Any] | None = None
) -> None:
    """Say what is wrong with lines in a row, by the good line after them."""
    said = after and after["event"] == "LineTorn" and (after.get("bytes"), after.get("sha256"))
    explained = said == tuple(torn(b"".join(line for _, line in broken)).values())
    for number, line in broken:
        if whole(line):
            checked.wrong(number, "changed: its hash is not that of its content")
        elif explained:
            checked.remark(number, "torn by a crash or a full disk, as the next line says")
        elif line.endswith(b"\n"):
            checked.wrong(number, "not a line of an audit log")
        else:
            checked.wrong(number, "incomplete: torn by a crash, or cut")
        # what follows is judged by what this one says of itself
        if (members := read(line, None, hashed=False)) is not None:
            checked.head = Head(members["seq"], members["hash"])
    broken.clear()


def _follow(number: int, members: dict[str, Any], checked: Checked) -> None:
    """Note where a line does not follow the one before it."""
    seq, before = members["seq"], checked.head
    if before is None:
        if seq != 0 or members["prev"] != _NONE or members["event"] != "LogBegun":
            checked.wrong(number, f"has number {seq}: the beginning is missing")
        return
    if seq > before.seq + 1:
        message = f"has number {seq} after {before.seq}: lines are missing before it"
    elif seq < before.seq + 1:
        message = f"has number {seq} after {before.seq}: repeated, or moved"
    elif members["prev"] != before.hash:
        message = "does not follow the line before it: one of them was replaced"
    else:
        return
    checked.wrong(number, message)


def _mention(number: int, members: dict[str, Any], checked: Checked) -> None:
    match members:
        case {"event": "LogContinues", "known": {"seq": int(seq), "hash": str(hash_)}}:
            checked.continues.append(Head(seq, hash_))
        case {"event": "LinesLost", "known": {"seq": seq, "hash": hash_}}:
            message = f"the file was cut while in use: it had number {seq}, with hash {hash_}"
            checked.wrong(number, message)
        case {"event": "EventsDropped", "count": count, "reason": reason}:
            checked.remark(number, f"{count} events before it were not written: {reason}")
