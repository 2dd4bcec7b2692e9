"""Simulate what 10,000 hosts do to their issuer: `python -m benchmarks.fleet [SVG]`.

Every decision is made by `RenewalPolicy` itself; only the hosts, their clocks and the issuer are
simulated. All hosts have been deployed within one minute, with certificates of one day. The seed
is fixed: the figures are the same everywhere.
"""

from __future__ import annotations

import datetime
import hashlib
import heapq
import random
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.plot import Panel, drawn
from mtls_client import RenewalPolicy

HOSTS, DAYS = 10_000, 2
LIFE = datetime.timedelta(days=1)
BEGIN = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
HOUR, MINUTE = datetime.timedelta(hours=1), datetime.timedelta(minutes=1)
OUTAGE = (11.0, 13.0)
"""Hours after the deployment; most of the fleet is due within them."""


@dataclass(frozen=True)
class Certificate:
    """What the policy sees of one."""

    not_before: datetime.datetime
    not_after: datetime.datetime
    fingerprint: str


@dataclass(frozen=True)
class Load:
    """What the issuer saw.

    Attributes:
        calls: how many calls in each minute since the deployment, in vain or not.
        expired: how many certificates were renewed after their end only.
    """

    calls: list[int]
    expired: int

    def peak(self, since: float = 0.0) -> int:
        """Return the most calls in a minute, from an hour on."""
        return max(self.calls[int(since * 60) :])


def simulated(
    policy: RenewalPolicy, *, down: tuple[float, float] | None = None, alike: bool = False
) -> Load:
    """Let the fleet run for two days.

    Args:
        policy: when they renew.
        down: from which hour to which the issuer is down, or None.
        alike: give all certificates one fingerprint, so that nothing tells the hosts apart.
    """
    chance = random.Random(1)
    minutes = DAYS * 24 * 60
    calls = [0] * minutes
    number = expired = 0
    waiting: list[tuple[datetime.datetime, int, Certificate, int]] = []

    def issue(when: datetime.datetime) -> None:
        nonlocal number
        number += 1
        fingerprint = hashlib.sha256(b"" if alike else b"%d" % number).hexdigest()
        one = Certificate(when, when + LIFE, fingerprint)
        heapq.heappush(waiting, (policy.due(one), number, one, 0))

    for _ in range(HOSTS):
        issue(BEGIN + chance.random() * MINUTE)
    while True:
        when, key, one, failures = heapq.heappop(waiting)
        minute = (when - BEGIN) // MINUTE
        if minute >= minutes:
            return Load(calls, expired)
        calls[minute] += 1
        if down and down[0] <= (when - BEGIN) / HOUR < down[1]:
            pause = policy.pause(one, failures + 1)
            heapq.heappush(waiting, (when + pause, key, one, failures + 1))
            continue
        expired += when > one.not_after
        issue(when)


def main() -> None:
    without, usual = RenewalPolicy(jitter=0), RenewalPolicy()
    steady = {"no jitter": simulated(without), "jitter of life/20": simulated(usual)}
    outage = {
        "no jitter": simulated(without, down=OUTAGE),
        "jitter of life/20": simulated(usual, down=OUTAGE),
    }
    print(f"{HOSTS:,} hosts, deployed within a minute; certificates of one day")
    for title, loads, since in (
        ("calls in the busiest minute", steady, 0.0),
        ("with an outage of 2 hours", outage, 0.0),
        ("... once the issuer is back", outage, OUTAGE[1]),
    ):
        plain, spread = (one.peak(since) for one in loads.values())
        print(
            f"{title:<30} no jitter {plain:7,}   jitter {spread:5,}   ratio {plain / spread:6.1f}"
        )
    herd = simulated(without, down=OUTAGE, alike=True).peak(OUTAGE[1])
    print(f"{'... and no spread of the waits':<30} {herd:17,}")
    late = [one.expired for one in outage.values()]
    print(f"certificates that expired meanwhile: {late[0]} and {late[1]}")
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(
            drawn(
                [
                    Panel(
                        f"Calls to the issuer per minute, {HOSTS:,} hosts",
                        "since all hosts were deployed within a minute",
                        {name: one.calls for name, one in steady.items()},
                        (0, 48),
                        6,
                    ),
                    Panel(
                        "The same, with the issuer down from hour 11 to 13",
                        "since all hosts were deployed within a minute",
                        {name: one.calls for name, one in outage.items()},
                        (10.5, 15),
                        0.5,
                        OUTAGE,
                    ),
                ]
            )
        )


if __name__ == "__main__":
    main()
