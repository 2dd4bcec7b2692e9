"""`AuditLog`: events as lines of JSON in a file, each vouching for those before it."""

from __future__ import annotations

import os
import shlex
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from mtls_client._os.forking import renewed_after_fork
from mtls_client.errors import ConfigurationError
from mtls_client.events import Event
from mtls_client.observers._fields import fields_of, kind_of, rfc3339
from mtls_client.observers._logfile import PATIENCE, LogFile

__all__ = ["AuditLog"]

_Key: TypeAlias = "bytes | Path | Callable[[], bytes]"

_SHORTEST_KEY = 16
_MOST_WAITING = 10_000
_BATCH = 100


class AuditLog:
    """An observer that appends every event to a file, as a hash-chained line of JSON.

    Any number of threads and processes may write to one file, each with an `AuditLog` of its own
    or an inherited one. When a call returns, the kernel has the line, and the end of the process
    cannot take it back. `mtls audit verify` finds lines that were changed, removed, repeated or
    moved; what that proves and what not is in docs/observability.md.

    Args:
        path: the file; made with mode 0600 if it does not exist. It may be renamed while it is in
            use; a new one then begins, and refers to the old one's last line.
        key: makes HMACs of the hashes, so that nobody without it can forge a line: at least 16
            bytes, or a file or function that has them. A line break at the file's end does not
            count.
        durable: have every line on the disk before going on (fsync(2)), so that a power failure
            cannot take it back either. It takes as long as the disk does, also on an event loop.
        on_failure: called with the error when lines could not be written; without it, the error
            is logged. Requests go on in either case. The lines wait in memory for the next event,
            up to 10,000 of them; of more, the log will say how many are missing.

    Raises:
        ConfigurationError: the file cannot be written, is no audit log or one with another key,
            or the key is none.

    Example:
        >>> log = AuditLog("audit.jsonl")  # doctest: +SKIP
        >>> session = Session(credential, observers=[log])  # doctest: +SKIP
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        key: _Key | None = None,
        durable: bool = False,
        on_failure: Callable[[Exception], object] | None = None,
    ) -> None:
        # absolute: a program may change its folder later
        self._file = LogFile(Path(path).absolute(), _bytes_of(key), durable=durable)
        self._on_failure = on_failure
        self._waiting: deque[dict[str, Any]] = deque()
        self.after_fork()
        renewed_after_fork(self)
        try:
            self._file.append(())
        except OSError as error:
            raise ConfigurationError(
                f"{path}: cannot be written ({error.strerror or error})",
                hint=f"look who may write there: ls -ld {shlex.quote(str(Path(path).parent))}",
                code="audit_file",
            ) from error

    def __call__(self, event: Event) -> None:
        """Append an event."""
        if self._pid != os.getpid():  # a fork that Python was not told of
            self.after_fork()
        try:
            self._waiting.append(_content(event))
            # collecting garbage while this thread writes may emit; the loop in _write sees to it
            if self._writer != threading.get_ident():
                self._write()
        except Exception as error:
            if self._on_failure is None:
                raise
            self._on_failure(error)

    def close(self) -> None:
        """Write what waits and close the file; a later event opens it again.

        Raises:
            OSError: it cannot be written.
        """
        try:
            self._write()
        finally:
            with self._lock:
                self._file.close()

    def after_fork(self) -> None:
        """Start over in a child: what waits is written by the parent."""
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._writer: int | None = None
        self._waiting.clear()
        self._file.after_fork()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def __repr__(self) -> str:
        return f"<AuditLog: {self._file.path}>"

    def _write(self) -> None:
        """Write what waits; another thread may have done so for this one."""
        if not self._lock.acquire(timeout=PATIENCE):
            self._give_up_some()
            raise TimeoutError(f"another thread has been writing {self._file.path} for too long")
        try:
            self._writer = threading.get_ident()
            while self._waiting:
                self._write_some()
        finally:
            self._writer = None
            self._lock.release()

    def _write_some(self) -> None:
        count = min(len(self._waiting), _BATCH)
        batch = [self._waiting.popleft() for _ in range(count)]
        try:
            self._file.append(batch)
        except Exception:
            self._waiting.extendleft(reversed(batch[self._file.written :]))
            self._give_up_some()
            raise

    def _give_up_some(self) -> None:
        while len(self._waiting) > _MOST_WAITING:
            self._waiting.pop()
            self._file.dropped += 1


def _content(event: Event) -> dict[str, Any]:
    own = {"at": rfc3339(event.at), "event": kind_of(event), "pid": os.getpid()}
    return own | {name: value for name, value in fields_of(event).items() if name not in own}


def _bytes_of(key: _Key | None) -> bytes | None:
    if key is None:
        return None
    if isinstance(key, Path):
        try:
            value = key.read_bytes().removesuffix(b"\n").removesuffix(b"\r")
        except OSError as error:
            raise _bad_key(f"{key} cannot be read ({error.strerror})") from error
    else:
        value = key() if callable(key) else key
    if not isinstance(value, bytes):
        raise _bad_key(f"a {type(value).__name__} is no key")
    if len(value) < _SHORTEST_KEY:
        raise _bad_key(f"{len(value)} bytes are too few")
    return value


def _bad_key(what: str) -> ConfigurationError:
    return ConfigurationError(
        f"audit log: {what}",
        hint="make one with: openssl rand -hex 32 > audit.key, and pass key=Path('audit.key')",
        code="audit_key",
    )
