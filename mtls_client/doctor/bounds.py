"""Ends for what could go on for ever."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

__all__ = ["bounded", "watchdog"]

_T = TypeVar("_T")


def bounded(function: Callable[[], _T], seconds: float) -> _T:
    """Return what a function returns, or raise what it raises, within some seconds.

    A function that does not end is left behind in a thread that ends with the process.

    Raises:
        TimeoutError: the time is over.
    """
    result: list[_T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            result.append(function())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failure:
        raise failure[0]
    if not result:
        raise TimeoutError(f"not finished after {seconds:g} seconds")
    return result[0]


@contextlib.contextmanager
def watchdog(connection: socket.socket, seconds: float) -> Iterator[None]:
    """Break a connection that is still in use after some seconds.

    The timeout of a socket starts anew with every byte, and a byte now and then is enough to
    hold a reader for ever.

    Raises:
        TimeoutError: it was, and what came of that is not the other side's doing.
    """
    bitten = threading.Event()

    def bite() -> None:
        bitten.set()
        with contextlib.suppress(OSError):
            socket.socket.shutdown(connection, socket.SHUT_RDWR)

    timer = threading.Timer(seconds, bite)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if bitten.is_set():
            raise TimeoutError(f"not finished after {seconds:g} seconds") from error
        raise
    finally:
        timer.cancel()
