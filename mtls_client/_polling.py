"""When to look at a source again: by time, by a thread of its own, by a signal."""

from __future__ import annotations

import hashlib
import logging
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, TypeAlias
from weakref import ref

from mtls_client._formats.passwords import away_from_the_loop
from mtls_client.errors import ConfigurationError

if TYPE_CHECKING:
    from mtls_client._kept import Kept
    from mtls_client.credential import Credential

__all__ = ["Changes", "Threads", "reload_on"]

_log = logging.getLogger("mtls_client")
_LONGEST = 60.0
_LONGEST_GOODBYE = 5.0
_LEAST = 0.5


class Changes:
    """What is known of the content of a source, by its digest.

    A source without a digest is never looked at unasked.

    Args:
        source: what to look at.
        interval: the shortest time between two looks, in seconds.

    Raises:
        ConfigurationError: the interval is not above zero.

    Attributes:
        due: when to look next, on the monotonic clock.
        failures: loads that failed since the last good one.
    """

    def __init__(self, source: Kept, interval: float) -> None:
        if not interval > 0:
            raise ConfigurationError(
                f"poll_interval is {interval!r}",
                hint="give a number of seconds above zero",
                code="poll_interval",
            )
        self._source = source if source.watchable else None
        self._interval = max(interval, source.poll_interval)
        self._good: bytes | None = None
        self._tried: bytes | None = None
        self._retry = 0.0
        self.failures = 0
        self.due = 0.0

    @property
    def overdue(self) -> bool:
        """Whether it is time to look."""
        return time.monotonic() >= self.due

    def seen(self, *, now: bool = False) -> bool:
        """Look, and tell whether to load: there is something new, or a failure to try again."""
        self.due = self._next()
        if self._source is None:
            return now  # only a load can tell
        digest = self._digest()
        if digest == self._good:
            self.failures = 0
            return False
        return now or digest != self._tried or time.monotonic() >= self._retry

    def look(self) -> None:
        """Take the digest before a load: what changes in between is loaded once more."""
        self.due = self._next()
        self._tried = self._digest()

    def loaded(self) -> None:
        """Say that the content that was looked at is good."""
        self._good, self.failures = self._tried, 0

    def failed(self) -> float:
        """Say that it is not; return in how many seconds the same content is tried again."""
        pause = min(self._interval * 2.0**self.failures, max(_LONGEST, self._interval))
        self.failures += 1
        self._retry = time.monotonic() + pause
        return pause

    def _digest(self) -> bytes | None:
        if self._source is None:
            return None
        try:
            return self._source.digest()
        except Exception as error:  # a source of somebody else's
            return hashlib.sha256(type(error).__name__.encode()).digest()

    def _next(self) -> float:
        return time.monotonic() + self._interval if self._source is not None else float("inf")


Step: TypeAlias = "Callable[[Credential], float]"
"""Does one thing for a credential, and returns in how many seconds to do it again."""


class Threads:
    """Daemon threads, one for each thing that is done for a credential again and again.

    They end by themselves when nobody holds the credential.
    """

    def __init__(self, credential: Credential) -> None:
        self._credential = ref(credential)
        self._running: dict[Step, threading.Thread] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def start(self, step: Step) -> None:
        """Start doing something, if it is not being done already."""
        with self._lock:
            if step in self._running or self._stopped.is_set():
                return
            thread = threading.Thread(
                target=_repeat,
                args=(self._credential, step, self._stopped),
                name=f"mtls-client {step.__name__.strip('_')}",
                daemon=True,
            )
            thread.start()
            self._running[step] = thread

    def stop(self) -> None:
        """End all threads for good, and wait for them a while."""
        with self._lock:
            self._stopped.set()
            running = list(self._running.values())
        for thread in running:
            if thread is not threading.current_thread():
                thread.join(_LONGEST_GOODBYE)

    def after_fork(self) -> None:
        """Start over in a child, which has none of the threads."""
        self._lock = threading.Lock()
        if self._stopped.is_set():
            return
        self._stopped = threading.Event()
        steps, self._running = list(self._running), {}
        for step in steps:
            self.start(step)


def _repeat(reference: ref[Credential], step: Step, stopped: threading.Event) -> None:
    wait = 0.0
    while not stopped.wait(wait):
        credential = reference()
        if credential is None:
            return
        try:
            with away_from_the_loop():
                wait = step(credential)
        except BaseException:  # sys.exit() in a source or a hook ends no thread of ours
            # there is no identity yet, and the caller who needs one is told
            _log.debug("%r could not be loaded", credential)
            wait = max(credential.pause(), _LEAST)
        del credential


def reload_on(credential: Credential, number: int | None) -> None:
    """Reload a credential whenever the process gets a signal, see `Credential.reload_on`."""
    number = number if number is not None else getattr(signal, "SIGHUP", None)
    if number is None:
        raise ConfigurationError("this system has no SIGHUP", hint="name a signal", code="signal")
    reference = ref(credential)

    def reload() -> None:
        credential = reference()
        try:
            if credential is not None:
                credential.reload()
        except Exception as error:
            _log.warning("%r keeps its identity after a %s", credential, type(error).__name__)

    def handle(received: int, frame: FrameType | None) -> None:
        # a handler runs between two instructions of a thread that may hold our lock
        threading.Thread(target=reload, name="mtls-client reload", daemon=True).start()
        if callable(previous):
            previous(received, frame)

    try:
        previous = signal.signal(number, handle)
    except ValueError as error:
        raise ConfigurationError(
            "signals can be handled in the main thread only",
            hint="call reload_on() where the program starts",
            code="signal",
        ) from error
