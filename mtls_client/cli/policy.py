"""The options that say when an identity is due for renewal."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any, TypeVar

import click

from mtls_client.cli.durations import duration_option
from mtls_client.renewers.policy import RenewalPolicy

__all__ = ["policy_of", "policy_options"]

_F = TypeVar("_F", bound=Callable[..., Any])


def policy_options(function: _F) -> _F:
    """Add `--fraction`, `--before` and `--jitter`."""
    for option in reversed(
        [
            click.option(
                "--fraction",
                type=float,
                metavar="NUMBER",
                help="Due after this part of its life (2/3, or 1/2 if it is under 10 days).",
            ),
            click.option(
                "--before",
                callback=duration_option,
                metavar="DURATION",
                help="Due this long before its end instead: 30d, 12h, 90m, 45s.",
            ),
            click.option(
                "--jitter",
                type=float,
                metavar="NUMBER",
                help="Due earlier by up to this part of its life (0.05).",
            ),
        ]
    ):
        function = option(function)
    return function


def policy_of(
    fraction: float | None = None,
    before: datetime.timedelta | None = None,
    jitter: float | None = None,
) -> RenewalPolicy:
    """Return the policy that the options describe.

    Raises:
        ConfigurationError: a number is out of range, or two contradict each other.
    """
    given = {} if jitter is None else {"jitter": jitter}
    return RenewalPolicy(fraction=fraction, before=before, **given)
