"""A response to standard output or a file."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mtls_client.cli.failures import (
    CERTIFICATE_WANTED,
    HTTP_ERROR,
    TIMEOUT,
    WRITE,
    Exit,
)
from mtls_client.explanation.answers import disguise

if TYPE_CHECKING:
    import httpx

__all__ = ["Transfer", "within"]

# nginx accepts the handshake and answers with a page
_ENOUGH = 4096


@contextlib.contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """End what happens inside after some seconds.

    Raises:
        Exit: the time is over.
    """
    if seconds is None or not hasattr(signal, "setitimer"):
        yield
        return

    def over(_number: int, _frame: object) -> None:
        raise Exit(TIMEOUT, f"(28) not finished after {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Transfer:
    """Where a response goes, and what its status means.

    Args:
        url: the URL, for `-O`.
        options: the command's.
    """

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self._options = options
        self._path = _path(url, options)

    @contextlib.contextmanager
    def receiving(self, response: httpx.Response) -> Iterator[Callable[[], None]]:
        """Offer a function that receives the response."""
        try:
            yield lambda: self._receive(response)
        finally:
            response.close()

    def _receive(self, response: httpx.Response) -> None:
        failed = response.status_code >= 400
        pieces = response.iter_raw()
        beginning = b""
        if response.status_code == 400:
            while len(beginning) < _ENOUGH and (piece := next(pieces, b"")):
                beginning += piece
        if not (failed and self._options["fail"]):
            with self._sink() as write:
                if self._options["include"] or self._options["head"]:
                    for one in (*response.history, response):
                        write(_head(one))
                if beginning:
                    write(beginning)
                with self._progress(response) as advance:
                    for piece in pieces:
                        write(piece)
                        advance(len(piece))
        asked = self._options["fail"] or self._options["fail_with_body"]
        explanation = disguise(response.status_code, beginning)
        if explanation is not None:
            if explanation.code == "rejected_missing":
                raise Exit(CERTIFICATE_WANTED, explanation.why, "give --cert FILE")
            raise Exit(HTTP_ERROR if asked else 0, explanation.why, explanation.hint)
        if failed and asked:
            raise Exit(HTTP_ERROR, f"(22) the server answered {response.status_code}")

    @contextlib.contextmanager
    def _sink(self) -> Iterator[Callable[[bytes], object]]:
        if self._path is None:
            yield self._to_stdout
            sys.stdout.buffer.flush()
            return
        try:
            if self._path.exists() and not self._path.is_file():  # /dev/null, a fifo
                with self._path.open("wb") as file:
                    yield file.write
                return
            with _replaced(self._path) as part:
                yield part.write
        except OSError as error:
            raise Exit(WRITE, f"(23) {self._path}: {error.strerror}".lower()) from error

    def _to_stdout(self, piece: bytes) -> None:
        if b"\0" in piece and sys.stdout.isatty() and self._options["output"] != "-":
            raise Exit(
                WRITE,
                "(23) binary output would mess up the terminal",
                "write -o FILE, or -o - to see it all the same",
            )
        sys.stdout.buffer.write(piece)

    @contextlib.contextmanager
    def _progress(self, response: httpx.Response) -> Iterator[Callable[[int], None]]:
        wanted = self._path is not None and sys.stderr.isatty() and not self._options["silent"]
        if not wanted:
            yield lambda _count: None
            return
        from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

        from mtls_client.cli.terminal import console

        length = response.headers.get("content-length")
        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=console(stderr=True), transient=True) as progress:
            task = progress.add_task("", total=int(length) if length else None)
            yield lambda count: progress.advance(task, count)


@contextlib.contextmanager
def _replaced(path: Path) -> Iterator[IO[bytes]]:
    """Offer a file that takes the path's place once it is whole, and never before."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with open(descriptor, "wb") as file:
            yield file
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~mask)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _path(url: str, options: dict[str, Any]) -> Path | None:
    if options["remote_name"]:
        from urllib.parse import unquote, urlsplit

        name = Path(unquote(urlsplit(url).path)).name
        if not name or name in (".", ".."):
            raise Exit(WRITE, "(23) the URL has no file name", "name one: -o FILE")
        return Path(name)
    output = options["output"]
    return None if output in (None, "-") else Path(output)


def _head(response: httpx.Response) -> bytes:
    reason = f" {response.reason_phrase}" if response.reason_phrase else ""
    lines = [f"{response.http_version} {response.status_code}{reason}".encode()]
    lines += [name + b": " + value for name, value in response.headers.raw]
    return b"\r\n".join(lines) + b"\r\n\r\n"
