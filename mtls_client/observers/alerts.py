"""`Alert`: a function of the user's is called when events of a kind come too often."""

from __future__ import annotations

import datetime
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from mtls_client._os.forking import renewed_after_fork
from mtls_client.errors import ConfigurationError
from mtls_client.events import Event, IdentityExpiring, IdentityRejected, Observer, PinMismatch

__all__ = ["Alarm", "Alert", "default_alerts"]

_log = logging.getLogger("mtls_client")

_MOST_SUBJECTS = 1000
_MOST_ALARMS = 10

_E = TypeVar("_E", bound=Event)
_E_co = TypeVar("_E_co", bound=Event, covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm(Generic[_E_co]):
    """What an action is told.

    Attributes:
        event: the one that was too much.
        subject: the host that it is about, or the fingerprint of the certificate; None if the
            event has neither.
        count: how many came within the window, this one included.
        silenced: how many alarms of this rule were held back since its last one.
    """

    event: _E_co
    subject: str | None
    count: int
    silenced: int


@dataclass(slots=True)
class _Subject:
    times: deque[float]
    quiet_until: float = field(default=float("-inf"))


class Alert(Generic[_E]):
    """An observer that calls a function when events of a kind come too often.

    Events are counted for each host, or certificate where they have no host. An alarm is followed
    by silence about the same subject, and a rule gives at most ten alarms in that time whatever
    the number of subjects; what is held back is counted and told with the next alarm. The action
    runs in a thread of its own, so it may take its time; what it raises is logged.

    Args:
        kind: the class of the events.
        action: called with an `Alarm`.
        count: how many events it takes.
        window: within which time.
        quiet: how long there is silence after an alarm.
        where: which events count; all if None.
        clock: seconds that never go back.

    Raises:
        ConfigurationError: a number or time is not above zero.

    Example:
        >>> minute = datetime.timedelta(minutes=1)
        >>> Alert(IdentityRejected, print, count=5, window=minute)  # doctest: +SKIP
    """

    def __init__(
        self,
        kind: type[_E],
        action: Callable[[Alarm[_E]], object],
        *,
        count: int = 1,
        window: datetime.timedelta = datetime.timedelta(minutes=5),
        quiet: datetime.timedelta = datetime.timedelta(hours=1),
        where: Callable[[_E], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if count < 1 or min(window, quiet) <= datetime.timedelta():
            raise ConfigurationError(
                f"alert: count is {count}, window {window}, quiet {quiet}",
                hint="give numbers and times above zero",
                code="alert",
            )
        self._kind, self._action, self._where = kind, action, where
        self._count, self._clock = count, clock
        self._window, self._quiet = window.total_seconds(), quiet.total_seconds()
        self._subjects: OrderedDict[str | None, _Subject] = OrderedDict()
        self._alarms: deque[float] = deque(maxlen=_MOST_ALARMS)
        self._silenced = 0
        self.after_fork()
        renewed_after_fork(self)

    def __call__(self, event: Event) -> None:
        """Count an event, and give the alarm if it is one too many."""
        if not isinstance(event, self._kind) or not (self._where is None or self._where(event)):
            return
        with self._lock:
            alarm = self._alarm(event)
        if alarm is not None:
            threading.Thread(
                target=self._act, args=(alarm,), name="mtls-client alarm", daemon=True
            ).start()

    def after_fork(self) -> None:
        """Start over in a child; what was counted stays."""
        self._lock = threading.RLock()  # collecting garbage in here may emit

    def __repr__(self) -> str:
        return f"<Alert: {self._count} {self._kind.__name__} in {self._window:g} s>"

    def _alarm(self, event: _E) -> Alarm[_E] | None:
        now = self._clock()
        name = getattr(event, "host", None) or getattr(event, "fingerprint", None)
        subject = self._subjects.pop(name, None) or _Subject(deque(maxlen=self._count))
        self._subjects[name] = subject
        if len(self._subjects) > _MOST_SUBJECTS:
            self._subjects.popitem(last=False)
        subject.times.append(now)
        if len(subject.times) < self._count or now - subject.times[0] > self._window:
            return None
        subject.times.clear()
        full = len(self._alarms) == _MOST_ALARMS and now - self._alarms[0] < self._quiet
        if now < subject.quiet_until or full:
            self._silenced += 1
            return None
        subject.quiet_until = now + self._quiet
        self._alarms.append(now)
        silenced, self._silenced = self._silenced, 0
        return Alarm(event=event, subject=name, count=self._count, silenced=silenced)

    def _act(self, alarm: Alarm[_E]) -> None:
        try:
            self._action(alarm)
        except Exception:
            _log.exception("the action of %r failed", self)


def default_alerts(action: Callable[[Alarm[Event]], object]) -> tuple[Observer, ...]:
    """Return rules for what somebody should look at.

    A server without a pinned key; five refusals of our identity by a host within five minutes; an
    identity with a week or less to live that was not renewed.

    Args:
        action: called with every `Alarm`.

    Example:
        >>> Session(source, observers=default_alerts(page_somebody))  # doctest: +SKIP
    """
    return (
        Alert(PinMismatch, action),
        Alert(IdentityRejected, action, count=5),
        Alert(IdentityExpiring, action, where=_within_a_week),
    )


def _within_a_week(event: IdentityExpiring) -> bool:
    return event.remaining <= datetime.timedelta(days=7)
