"""`LogEvents`: events in the program's own log."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Mapping

from mtls_client import events
from mtls_client.events import Event
from mtls_client.observers._fields import Plain, cut, fields_of, kind_of, rfc3339

__all__ = ["LogEvents"]

_LEVELS: Mapping[type[Event], int] = {
    events.HandshakeCompleted: logging.DEBUG,
    events.HandshakeFailed: logging.WARNING,
    events.IdentityRejected: logging.ERROR,
    events.PinMismatch: logging.ERROR,
    events.UnverifiedConnection: logging.WARNING,
    events.IdentityReloaded: logging.INFO,
    events.ReloadFailed: logging.WARNING,
    events.GenerationDrained: logging.INFO,
    events.IdentityRenewed: logging.INFO,
    events.IdentitySaved: logging.INFO,
    events.RenewalFailed: logging.WARNING,
    events.IdentityExpiring: logging.WARNING,
}


class LogEvents:
    """An observer that logs every event in one line.

    Records have the event's fields as attributes, for structured logs: `mtls_event` is its kind,
    the others are `mtls_host`, `mtls_serial`, `mtls_code` and so on, as in `mtls_client.events`.
    Control characters are escaped in all of them.

    Args:
        logger: where to; the logger `mtls_client.events` if None.
        level: levels of some kinds of event, in the place of those in docs/observability.md.

    Example:
        >>> LogEvents(level={events.HandshakeCompleted: logging.INFO})  # doctest: +ELLIPSIS
        <LogEvents: ...>
    """

    def __init__(
        self,
        logger: logging.Logger | None = None,
        level: Mapping[type[Event], int] | None = None,
    ) -> None:
        self._logger = logger or logging.getLogger("mtls_client.events")
        self._levels = {**_LEVELS, **(level or {})}

    def __call__(self, event: Event) -> None:
        """Log an event."""
        level = self._levels.get(type(event), logging.INFO)
        if not self._logger.isEnabledFor(level):
            return
        extra = {f"mtls_{name}": _clean(value) for name, value in fields_of(event).items()}
        extra |= {"mtls_event": kind_of(event), "mtls_at": rfc3339(event.at)}
        self._logger.log(level, "%s", _clean(cut(_sentence(event))), extra=extra)

    def __repr__(self) -> str:
        return f"<LogEvents: {self._logger.name}>"


def _sentence(event: Event) -> str:
    match event:
        case events.HandshakeCompleted():
            resumed = ", resumed" if event.resumed else ""
            return f"connected to {_where(event)} by {event.version}{resumed} with {_ours(event)}"
        case events.HandshakeFailed():
            reason = _first_line(event.message)
            return f"no connection to {event.host} with {_ours(event)}: {reason}"
        case events.IdentityRejected():
            sure = "" if event.certain else "probably "
            return f"{event.host} refused {_ours(event)}: {sure}{event.reason}"
        case events.PinMismatch():
            after = "refused" if event.enforced else "let pass, since pins are reported only"
            return f"{event.host} presented none of the pinned keys: {after}"
        case events.UnverifiedConnection():
            return f"connected to {event.host} without verifying it"
        case events.IdentityReloaded():
            until = rfc3339(event.not_after)
            return f"identity reloaded: {event.serial} until {until}"
        case events.ReloadFailed():
            again = f"next try in {event.retry_in:g} s"
            return f"identity kept, the source is bad: {_first_line(event.message)}; {again}"
        case events.GenerationDrained():
            return f"identity not used any more: {event.serial}"
        case events.IdentityRenewed():
            where = "" if event.saved else ", in memory only"
            return f"identity renewed{where}: {event.serial} until {rfc3339(event.not_after)}"
        case events.IdentitySaved():
            return f"renewed identity saved: {event.serial}"
        case events.RenewalFailed():
            never = event.retry_in is None
            again = "nobody tries again" if never else f"next try in {event.retry_in:g} s"
            return f"identity not renewed: {_first_line(event.message)}; {again}"
        case events.IdentityExpiring() if event.remaining <= datetime.timedelta():
            return f"identity expired: {event.serial} at {rfc3339(event.not_after)}"
        case events.IdentityExpiring():
            return f"identity expires soon: {event.serial} at {rfc3339(event.not_after)}"
    return kind_of(event)


def _first_line(message: str) -> str:
    return message.partition("\n")[0]


def _where(event: events.HandshakeCompleted) -> str:
    return f"{event.host}" if event.port is None else f"{event.host}:{event.port}"


def _ours(event: events.ConnectionEvent) -> str:
    return f"certificate {event.serial}" if event.serial else "no certificate"


def _clean(value: Plain) -> Plain:
    """Escape what would begin a line or move a terminal's cursor."""
    if isinstance(value, list):
        return [_clean(one) for one in value]
    if not isinstance(value, str) or value.isprintable():
        return value
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in value
    )
