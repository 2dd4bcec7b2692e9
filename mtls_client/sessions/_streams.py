"""Responses of httpx that end a lease, and the event loop that closes what they leave behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import httpx

if TYPE_CHECKING:
    from mtls_client.leases import Leased

__all__ = ["HeldAsyncStream", "HeldStream", "Home", "home"]

Home: TypeAlias = Callable[[Callable[[], Awaitable[None]]], None]
"""Starts a coroutine on the event loop it stands for; may be called in any thread."""


class HeldStream(httpx.SyncByteStream):
    """The content of a response; a lease ends when it is closed."""

    def __init__(self, stream: Any, leased: Leased) -> None:
        self._stream = stream
        self._leased = leased
        leased.release_with(self)

    def __iter__(self) -> Iterator[bytes]:
        yield from self._stream

    def close(self) -> None:
        """Close it; the connection goes back to its pool."""
        try:
            self._stream.close()
        finally:
            self._leased.release()


class HeldAsyncStream(httpx.AsyncByteStream):
    """The content of a response; a lease ends when it is closed."""

    def __init__(self, stream: Any, leased: Leased) -> None:
        self._stream = stream
        self._leased = leased
        leased.release_with(self)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            yield part

    async def aclose(self) -> None:
        """Close it; the connection goes back to its pool."""
        try:
            await self._stream.aclose()
        finally:
            self._leased.release()


def home() -> Home:
    """Return what starts coroutines on the event loop that is running now."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        import trio

        token = trio.lowlevel.current_trio_token()

        def start_soon(work: Callable[[], Awaitable[None]]) -> None:
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(trio.lowlevel.spawn_system_task, work)

        return start_soon

    tasks: set[asyncio.Task[None]] = set()

    def start(work: Callable[[], Any]) -> None:
        # the loop itself holds tasks weakly
        task = loop.create_task(work())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def start_threadsafe(work: Callable[[], Awaitable[None]]) -> None:
        with suppress(RuntimeError):  # the loop is closed, and its connections with it
            loop.call_soon_threadsafe(start, work)

    return start_threadsafe
