"""An event as plain values, for logs: text, numbers, lists; bounded, whatever an event holds."""

from __future__ import annotations

import dataclasses
import datetime
import math
from typing import TypeAlias

from mtls_client.events import Event

__all__ = ["Plain", "cut", "fields_of", "kind_of", "rfc3339"]

Plain: TypeAlias = "str | int | float | bool | list[Plain] | None"

_LONGEST_TEXT = 1000
_LONGEST_LIST = 20


def kind_of(event: Event) -> str:
    """Return the name of an event's class."""
    return type(event).__name__


def fields_of(event: Event) -> dict[str, Plain]:
    """Return what an event holds, its time left out."""
    names = (one.name for one in dataclasses.fields(event) if one.name != "at")
    return {name: _plain(getattr(event, name)) for name in names}


def rfc3339(moment: datetime.datetime) -> str:
    """Return a time in UTC as RFC 3339 writes it, to the microsecond."""
    return moment.astimezone(datetime.UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def cut(text: str) -> str:
    """Return a text as it is, or the beginning of a long one."""
    return text[:] if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"


def _plain(value: object) -> Plain:
    match value:
        case str():  # also the members of a StrEnum
            return cut(value)
        case float() if not math.isfinite(value):
            return str(value)  # JSON has no word for it
        case None | bool() | int() | float():
            return value
        case datetime.datetime():
            return rfc3339(value)
        case datetime.timedelta():
            return value.total_seconds()
        case tuple() | list():
            items = [_plain(one) for one in value[:_LONGEST_LIST]]
            return items if len(value) <= _LONGEST_LIST else [*items, "…"]
    # the text of anything else may hold anything
    return f"<{type(value).__name__}>"
