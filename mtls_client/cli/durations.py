"""Durations as options have them: `30d`, `12h`, `90m`, `45s`."""

from __future__ import annotations

import datetime
import re

import click

__all__ = ["duration", "duration_option"]

_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_DURATION = re.compile(r"([0-9]{1,6})([dhms])")


def duration(text: str) -> datetime.timedelta:
    """Return the duration that a text like `30d` means: a whole number and one of d, h, m, s.

    Raises:
        ValueError: it is no such text, or zero; the message says what to write.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a duration; write 30d, 12h, 90m or 45s")
    value = datetime.timedelta(**{_UNITS[found[2]]: int(found[1])})
    if not value:
        raise ValueError(f"{text!r} is no time at all; write 30d, 12h, 90m or 45s")
    return value


def duration_option(
    context: click.Context, option: click.Parameter, value: str | None
) -> datetime.timedelta | None:
    """Parse the value of an option: `click.option("--before", callback=duration_option)`."""
    try:
        return None if value is None else duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error), context, option) from error
