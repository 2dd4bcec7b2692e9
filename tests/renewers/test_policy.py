"""`RenewalPolicy` over lives from five minutes to three years."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import hashlib
import pickle
import statistics
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtls_client import ConfigurationError, Identity, RenewalPolicy
from mtls_client.renewers import RenewalWindow
from mtls_client.testing import CA

BEGIN = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC)
SECOND, MINUTE, HOUR, DAY = (
    datetime.timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days")
)
LAST, FIRST, MIDDLE = "0" * 64, "f" * 64, "8" + "0" * 63
"""Fingerprints of who is due last, first and between."""
WHOLE = RenewalPolicy(jitter=0)


@dataclass(frozen=True)
class Certificate:
    """What a policy looks at."""

    not_before: datetime.datetime
    not_after: datetime.datetime
    fingerprint: str = LAST


def lasting(life: datetime.timedelta, fingerprint: str = LAST) -> Certificate:
    return Certificate(BEGIN, BEGIN + life, fingerprint)


lives = st.timedeltas(5 * MINUTE, 3 * 366 * DAY)
fingerprints = st.binary(min_size=32, max_size=32).map(bytes.hex)
certificates = st.builds(lasting, lives, fingerprints)
dates = st.datetimes(
    datetime.datetime(1950, 1, 1), datetime.datetime(9999, 12, 31), timezones=st.just(datetime.UTC)
)
strange = st.builds(Certificate, dates, dates, fingerprints)
policies = st.one_of(
    st.builds(
        RenewalPolicy,
        fraction=st.none() | st.floats(0.001, 0.999),
        jitter=st.floats(0, 0.5),
    ),
    st.builds(RenewalPolicy, before=st.timedeltas(SECOND, 10_000 * DAY), jitter=st.floats(0, 0.5)),
)


@pytest.mark.parametrize(
    ("life", "after"),
    [
        (5 * MINUTE, 150 * SECOND),
        (HOUR, 30 * MINUTE),
        (DAY, 12 * HOUR),
        (10 * DAY - SECOND, 5 * DAY - SECOND / 2),
        (10 * DAY, 160 * HOUR),
        (30 * DAY, 20 * DAY),
        (90 * DAY, 60 * DAY),
        (3 * 365 * DAY, 2 * 365 * DAY),
    ],
)
def test_due_after_two_thirds_of_life_or_half_of_a_short_one(
    life: datetime.timedelta, after: datetime.timedelta
) -> None:
    assert WHOLE.due(lasting(life)) == BEGIN + after
    assert RenewalPolicy().due(lasting(life, LAST)) == BEGIN + after
    early = BEGIN + after - RenewalPolicy().due(lasting(life, FIRST))
    assert early == pytest.approx(life / 20, abs=SECOND / 1000)


@given(certificates)
def test_jitter_is_never_more_than_a_twentieth_of_life(one: Certificate) -> None:
    life = one.not_after - one.not_before
    assert WHOLE.due(one) - life / 20 <= RenewalPolicy().due(one) <= WHOLE.due(one)
    assert WHOLE.due(dataclasses.replace(one, fingerprint=FIRST)) == WHOLE.due(one)


def test_jitter_is_evenly_spread() -> None:
    """Of 10,000 certificates each tenth of the twentieth gets its tenth, give or take."""
    days = 90 * DAY
    early = [
        (WHOLE.due(one) - RenewalPolicy().due(one)) / (days / 20)
        for one in (lasting(days, hashlib.sha256(b"%d" % n).hexdigest()) for n in range(10_000))
    ]
    tenths = [sum(n <= 10 * share < n + 1 for share in early) for n in range(10)]
    # four standard deviations of a binomial distribution
    assert all(abs(count - 1000) < 4 * (10_000 * 0.1 * 0.9) ** 0.5 for count in tenths)
    assert statistics.mean(early) == pytest.approx(0.5, abs=0.02)


@given(policies, certificates)
def test_due_within_life_and_not_at_its_beginning(policy: RenewalPolicy, one: Certificate) -> None:
    """No settings make a new certificate due at once, which would renew it without end."""
    assert one.not_before < policy.due(one) < one.not_after


@pytest.mark.parametrize(
    ("policy", "life", "after"),
    [
        (RenewalPolicy(fraction=0.9, jitter=0), 90 * DAY, 81 * DAY),
        (RenewalPolicy(fraction=0.9, jitter=0), HOUR, 54 * MINUTE),
        (RenewalPolicy(before=30 * DAY, jitter=0), 365 * DAY, 335 * DAY),
        (RenewalPolicy(before=30 * DAY, jitter=0), 60 * DAY, 30 * DAY),
        (RenewalPolicy(before=30 * DAY, jitter=0), DAY, 12 * HOUR),  # half of life at the most
        (RenewalPolicy(before=HOUR, jitter=0), DAY, 23 * HOUR),
    ],
)
def test_fraction_and_before(
    policy: RenewalPolicy, life: datetime.timedelta, after: datetime.timedelta
) -> None:
    assert policy.due(lasting(life)) == BEGIN + after


def test_jitter_takes_at_most_half_of_the_time_until_then() -> None:
    policy = RenewalPolicy(fraction=0.1, jitter=0.5)
    assert policy.due(lasting(100 * DAY, LAST)) == BEGIN + 10 * DAY
    earliest = policy.due(lasting(100 * DAY, FIRST)) - BEGIN
    assert earliest == pytest.approx(5 * DAY, abs=SECOND)


@given(certificates, st.timedeltas(-400 * DAY, 400 * DAY), st.timedeltas(SECOND, 30 * DAY))
def test_a_window_of_the_issuer_is_obeyed(
    one: Certificate, offset: datetime.timedelta, length: datetime.timedelta
) -> None:
    """RFC 9773 §4.2: a time within; so one that is over has been due, whatever the policy says."""
    window = RenewalWindow(BEGIN + offset, BEGIN + offset + length)
    due = RenewalPolicy().due(one, window)
    assert window.start <= due <= window.end
    assert RenewalPolicy(before=DAY, jitter=0).due(one, window) == due


def test_a_window_is_used_evenly() -> None:
    window = RenewalWindow(BEGIN, BEGIN + DAY)
    due = {
        name: RenewalPolicy().due(lasting(90 * DAY, name), window) for name in (FIRST, MIDDLE, LAST)
    }
    assert due[LAST] == window.end
    assert due[MIDDLE] == BEGIN + DAY / 2
    assert due[FIRST] - window.start < SECOND


@pytest.mark.parametrize("length", [0 * DAY, -DAY])
def test_a_window_that_ends_before_it_begins_is_no_window(length: datetime.timedelta) -> None:
    """RFC 9773 §4.2: as though no answer had been received."""
    window = RenewalWindow(BEGIN, BEGIN + length)
    one = lasting(90 * DAY, MIDDLE)
    assert RenewalPolicy().due(one, window) == RenewalPolicy().due(one)


def test_backoff_of_long_lives_in_minutes() -> None:
    minutes = [WHOLE.pause(lasting(90 * DAY, FIRST), n) / MINUTE for n in range(1, 16)]
    assert minutes == pytest.approx(
        [1, 2, 2, 5, 10, 10, 10, 20, 30, 60, 120, 240, 360, 360, 360], rel=1e-6
    )


@pytest.mark.parametrize(
    ("life", "seconds"),
    [
        (DAY, [10, 20, 20, 50, 100, 100, 100, 200, 300, 600, 1200, 2400, 3600, 3600]),
        (HOUR, [1, 1, 1, 25 / 12, 25 / 6, 25 / 6, 25 / 6, 25 / 3, 12.5, 25, 50, 100, 150, 150]),
        (5 * MINUTE, [1] * 8 + [25 / 24, 25 / 12, 25 / 6, 25 / 3, 12.5, 12.5]),
        (20 * SECOND, [0.2] * 10 + [5 / 18, 5 / 9, 5 / 6, 5 / 6]),
    ],
)
def test_backoff_of_short_lives_in_proportion(
    life: datetime.timedelta, seconds: list[float]
) -> None:
    waits = [WHOLE.pause(lasting(life, FIRST), n) / SECOND for n in range(1, 15)]
    assert waits == pytest.approx(seconds, rel=1e-5)


@given(policies, certificates, st.integers(1, 10**6))
def test_an_issuer_that_is_back_is_soon_asked(
    policy: RenewalPolicy, one: Certificate, failures: int
) -> None:
    """No wait is longer than a ninth of what is left of life when it is due without jitter."""
    plain = dataclasses.replace(policy, jitter=0.0)
    left = one.not_after - plain.due(one)
    wait = policy.pause(one, failures)
    assert datetime.timedelta() < wait <= max(left / 9, datetime.timedelta(microseconds=1))
    assert wait <= 6 * HOUR * 1.25
    assert policy.pause(one, failures + 1) >= wait


@pytest.mark.parametrize("life", [HOUR, DAY, 30 * DAY, 365 * DAY])
@pytest.mark.parametrize("failures", range(1, 20))
def test_a_fleet_never_comes_back_as_one(life: datetime.timedelta, failures: int) -> None:
    """Jitter and the spread of the pauses never cancel each other, whatever the attempt."""

    def attempt(fingerprint: str) -> datetime.datetime:
        one = lasting(life, fingerprint)
        waits = [RenewalPolicy().pause(one, n) for n in range(1, failures)]
        return RenewalPolicy().due(one) + sum(waits, datetime.timedelta())

    first, middle, last = attempt(FIRST), attempt(MIDDLE), attempt(LAST)
    assert last - first >= life / 20 - SECOND
    assert middle - first == pytest.approx((last - first) / 2, abs=SECOND)


@pytest.mark.parametrize(
    ("life", "least"),
    [(20 * SECOND, SECOND / 2), (5 * MINUTE, 7.5 * SECOND), (HOUR, MINUTE), (1095 * DAY, MINUTE)],
)
def test_the_shortest_time_between_two_renewals(
    life: datetime.timedelta, least: datetime.timedelta
) -> None:
    """It holds back who is always due: a certificate backdated by more than half of its life."""
    assert WHOLE.pause(lasting(life), 0) == least
    backdated = Certificate(BEGIN - HOUR, BEGIN + 5 * MINUTE)
    assert RenewalPolicy().due(backdated) < BEGIN
    assert RenewalPolicy().pause(backdated, 0) == MINUTE


def test_warnings_of_long_lives() -> None:
    one = lasting(90 * DAY)
    before = [(one.not_after - when) / HOUR for when in RenewalPolicy().warnings(one)]
    assert before == [28 * 24, 7 * 24, 3 * 24, 2 * 24, 24, 12, 6, 2, 1, 0]
    assert len(list(RenewalPolicy().warnings(lasting(1095 * DAY)))) == 10


def test_warnings_of_short_lives_in_proportion() -> None:
    one = lasting(90 * MINUTE)
    before = [(one.not_after - when) / MINUTE for when in RenewalPolicy().warnings(one)]
    assert before == pytest.approx([28, 7, 3, 2, 1, 1 / 2, 1 / 4, 1 / 12, 1 / 24, 0], abs=1e-6)


@given(certificates)
def test_all_warnings_come_after_it_is_due_and_in_order(one: Certificate) -> None:
    warnings = list(RenewalPolicy().warnings(one))
    assert len(warnings) == 10
    assert RenewalPolicy().due(one) < warnings[0]
    assert warnings == sorted(warnings)
    assert warnings[-1] == one.not_after


def test_no_warning_before_it_is_due() -> None:
    """Who renews a day before the end is not told for four weeks that it has not been done."""
    one = lasting(90 * DAY)
    hours = [
        (one.not_after - when) / HOUR
        for when in RenewalPolicy(before=30 * HOUR, jitter=0).warnings(one)
    ]
    assert hours == [24, 12, 6, 2, 1, 0]


def test_an_expired_identity_stays_due() -> None:
    """Where the issuer allows it, it is renewed after its end: due is a date, not a period."""
    expired = Certificate(BEGIN - 400 * DAY, BEGIN - 40 * DAY)
    assert RenewalPolicy().due(expired) < expired.not_after < BEGIN


@given(strange, policies, st.integers(0, 99))
def test_nothing_that_a_certificate_can_hold_breaks_it(
    one: Certificate, policy: RenewalPolicy, failures: int
) -> None:
    """No life, an end before the begin, a begin in the future, no end (RFC 5280 §4.1.2.5)."""
    assert policy.due(one) >= one.not_before
    assert policy.pause(one, failures) > datetime.timedelta()
    warnings = list(policy.warnings(one))
    assert warnings == sorted(warnings)
    assert warnings[-1] == one.not_after


def test_a_certificate_from_the_future_is_due_in_its_life() -> None:
    assert WHOLE.due(lasting(90 * DAY)) - BEGIN == 60 * DAY  # whatever the clock says


def test_the_backdating_of_an_issuer_counts_as_life() -> None:
    """OpenBao dates its certificates 30 seconds back: one of 5 minutes lasts 4:30."""
    one = Certificate(BEGIN - 30 * SECOND, BEGIN + 270 * SECOND)
    assert WHOLE.due(one) == BEGIN + 120 * SECOND


@pytest.mark.parametrize(
    "given",
    [
        {"fraction": 0},
        {"fraction": 1},
        {"fraction": float("nan")},
        {"fraction": "0.5"},
        {"fraction": 0.5, "before": DAY},
        {"before": 0 * DAY},
        {"before": -DAY},
        {"before": 30},
        {"jitter": -0.01},
        {"jitter": 0.51},
        {"jitter": float("nan")},
        {"jitter": None},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"^renewal policy: ") as caught:
        RenewalPolicy(**given)
    assert caught.value.code == "renewal_policy"
    assert caught.value.hint is not None
    RenewalPolicy(fraction=0.5, jitter=0.5)


def test_a_policy_is_a_value() -> None:
    policy = RenewalPolicy(before=30 * DAY)
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.jitter = 0.1  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        object.__setattr__(policy, "more", 1)
    assert policy == RenewalPolicy(before=30 * DAY) == pickle.loads(pickle.dumps(policy))
    assert hash(policy) == hash(copy.deepcopy(policy))


def test_all_processes_that_look_at_one_certificate_agree(identity: Identity, ca: CA) -> None:
    code = (
        "import sys; from mtls_client import Identity, RenewalPolicy as P;"
        "one = Identity.from_pem(sys.stdin.buffer.read());"
        "print(P().due(one).isoformat(), P().pause(one, 3).total_seconds())"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", code],
            input=identity.private_key_pem() + identity.certificate_pem(),
            stdout=subprocess.PIPE,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
        ).stdout.decode()
        for seed in ("1", "2")
    ]
    policy = RenewalPolicy()
    here = f"{policy.due(identity).isoformat()} {policy.pause(identity, 3).total_seconds()}\n"
    assert said == [here, here]
    again = ca.issue("client", not_before=identity.not_before, not_after=identity.not_after)
    assert policy.due(again) != policy.due(identity)
