"""The file of an audit log: opened, moved away by others, torn, full; appended to under a lock.

Rules of this file: the lock is that of the file itself, so that every process of every user sees
it; what is there is never rewritten or shortened; a line is joined to the last line of the file,
whoever wrote it. It belongs to one thread at a time.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mtls_client._os.locks import held
from mtls_client.errors import ConfigurationError
from mtls_client.observers._chain import Head, begun, read, torn, whole, written
from mtls_client.observers._fields import rfc3339

__all__ = ["PATIENCE", "LogFile"]

PATIENCE = 5.0
"""How long to wait for another process, in seconds."""

_FLAGS = (
    os.O_RDWR
    | os.O_APPEND
    | os.O_CREAT
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a FIFO must not keep us waiting
    | getattr(os, "O_BINARY", 0)
)
_FIRST = b'{"seq":0,"prev":"'
_USUAL, _FARTHEST = 2**13, 2**20
"""How many bytes from its end the last good line is looked for."""


class _Known(NamedTuple):
    """The file as it was when this process last wrote to it."""

    file: tuple[int, int]
    size: int
    head: Head


class LogFile:
    """A file of chained lines.

    Args:
        path: where it is.
        key: for HMAC, or None.
        durable: bring every line to the disk before going on.

    Attributes:
        written: how many of the lines that were last given are in the file.
        dropped: how many lines were given up; the next one says so.
    """

    def __init__(self, path: Path, key: bytes | None, *, durable: bool) -> None:
        self.path = path
        self.dropped = 0
        self.written = 0
        self._reason = ""
        self._key, self._durable = key, durable
        self._descriptor: int | None = None
        self._known: _Known | None = None
        self._continues: Head | None = None

    def append(self, contents: Sequence[dict[str, Any]]) -> None:
        """Write lines, all of them or as many as the disk takes.

        Raises:
            OSError: they cannot be written, or not all of them.
            TimeoutError: another process holds the lock.
            ConfigurationError: this is no audit log, or one with another key.
        """
        self.written = 0
        try:
            self._append(contents)
        except Exception as error:
            # the text of an error may hold anything
            self._reason = getattr(error, "strerror", None) or type(error).__name__
            self._known = None
            self.close()
            raise

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def after_fork(self) -> None:
        """Start over in a child: a lock of the parent's opening would not exclude the parent."""
        self.close()
        self.dropped, self._known, self._continues = 0, None, None

    def _append(self, contents: Sequence[dict[str, Any]]) -> None:
        for _ in range(5):
            descriptor = self._opened()
            with held(descriptor, PATIENCE):
                if self._in_place(descriptor):
                    self._write(descriptor, contents)
                    return
                # moved away; nobody who sees that writes to it any more, so this head stays
                head = self._end(descriptor, os.fstat(descriptor).st_size)[0]
                self._continues = head or self._continues
            self.close()
            self._known = None
        raise OSError(f"{self.path} is replaced again and again")

    def _opened(self) -> int:
        if self._descriptor is None:
            self._descriptor = os.open(self.path, _FLAGS, 0o600)
            if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                self.close()
                raise ConfigurationError(
                    f"{self.path}: not a regular file",
                    hint="give the path of a file, which need not exist yet",
                    code="audit_file",
                )
        return self._descriptor

    def _in_place(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.path, follow_symlinks=False))
        except FileNotFoundError:
            return False

    def _write(self, descriptor: int, contents: Sequence[dict[str, Any]]) -> None:
        status = os.fstat(descriptor)
        file, size, known = (status.st_dev, status.st_ino), status.st_size, self._known
        if known is not None and (known.file, known.size) == (file, size):
            head: Head | None = known.head
            remains, data = b"", bytearray()
        else:
            head, remains, ended = self._end(descriptor, size)
            data = bytearray(b"" if ended else b"\n")  # nothing is glued to an incomplete line
        first: list[dict[str, Any]] = []
        if head is None:
            first.append(_own("LogBegun", begun(self._key)))
        if remains:
            first.append(_own("LineTorn", torn(remains)))
        if self._continues is not None:
            first.append(_own("LogContinues", {"known": self._continues._asdict()}))
        if known is not None and known.file == file and size < known.size:
            first.append(_own("LinesLost", {"known": known.head._asdict()}))
        if self.dropped:
            said = {"count": self.dropped, "reason": self._reason}
            first.append(_own("EventsDropped", said))
        ends = []
        for content in (*first, *contents):
            line, head = written(content, head, self._key)
            data += line
            ends.append(len(data))
        if head is None or not data:  # there is nothing to write
            return
        done = 0
        try:
            while done < len(data):
                done += os.write(descriptor, memoryview(data)[done:])
            if self._durable:
                _to_disk(descriptor, self.path if size == 0 else None)
        except OSError:
            complete = sum(end <= done for end in ends)
            if complete >= len(first):
                self.dropped, self._continues = 0, None
            self.written = max(complete - len(first), 0)
            raise
        self.written = len(contents)
        self.dropped, self._continues = 0, None
        self._known = _Known(file, size + len(data), head)

    def _end(self, descriptor: int, size: int) -> tuple[Head | None, bytes, bool]:
        """Return the last good line, what comes after it, and whether the last line is ended."""
        reach = _USUAL
        while True:
            start = max(size - reach, 0)
            data = _read(descriptor, start, size)
            end, ended = len(data), data.endswith(b"\n")
            while end > 0:
                begin = data.rfind(b"\n", 0, end - 1) + 1
                # of the last one, its end of line alone may be missing
                members = read(data[begin:end].removesuffix(b"\n") + b"\n", self._key)
                if members is not None and (begin > 0 or start == 0):
                    return Head(members["seq"], members["hash"]), data[end:], ended
                end = begin
            if start == 0:
                break
            if reach >= _FARTHEST:
                raise self._damaged()
            reach *= 8
        # a crash may have torn the very first line
        if not _FIRST.startswith(data[: len(_FIRST)]) or any(map(whole, data.splitlines(True))):
            raise self._damaged()
        return None, data, ended or not data

    def _damaged(self) -> ConfigurationError:
        return ConfigurationError(
            f"{self.path}: not an audit log, or its last lines were changed, or it has another key",
            hint=f"move it away, and look with: mtls audit verify {self.path}",
            code="audit_damaged",
        )


def _own(kind: str, content: dict[str, Any]) -> dict[str, Any]:
    now = rfc3339(datetime.datetime.now(datetime.UTC))
    return {"at": now, "event": kind, "pid": os.getpid(), **content}


def _read(descriptor: int, start: int, end: int) -> bytes:
    os.lseek(descriptor, start, os.SEEK_SET)
    data = b""
    while len(data) < end - start and (piece := os.read(descriptor, end - start - len(data))):
        data += piece
    return data


def _to_disk(descriptor: int, new: Path | None) -> None:
    os.fsync(descriptor)
    if new is not None and os.name == "posix":
        folder = os.open(new.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
