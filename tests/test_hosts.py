"""Hosts are compared in one form, and a pattern matches what it says and no more."""

from __future__ import annotations

import pytest

from mtls_client.errors import ConfigurationError
from mtls_client.hosts import HostPattern, normalised


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("API.Example.COM", "api.example.com"),
        ("api.example.com.", "api.example.com"),
        (b"api.example.com", "api.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("localhost", "localhost"),
        ("", ""),
    ],
)
def test_a_name_has_one_form(given: str | bytes, expected: str) -> None:
    assert normalised(given) == expected


@pytest.mark.parametrize(
    ("pattern", "host", "expected"),
    [
        ("api.example.com", "api.example.com", True),
        ("API.example.com.", "api.example.com", True),
        ("api.example.com", "xapi.example.com", False),
        ("api.example.com", "api.example.com.evil.test", False),
        ("*.example.com", "api.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "a.b.example.com", False),
        ("*.example.com", ".example.com", False),
        ("*.example.com", "apixexample.com", False),
        ("**.example.com", "example.com", True),
        ("**.example.com", "a.b.example.com", True),
        ("**.example.com", "evilexample.com", False),
        ("**", "anything.test", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("::1", "::1", True),
        ("bücher.example", "xn--bcher-kva.example", True),
        ("*.internal", "orders.internal", True),
    ],
)
def test_a_pattern_matches_what_it_says(pattern: str, host: str, expected: bool) -> None:
    assert HostPattern.parse(pattern).matches(host) is expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "*.",
        "https://api.example.com",
        "api.example.com/orders",
        "api.example.com:443",
        "a*.example.com",
        "api.*.com",
        "*.*.example.com",
        "***.example.com",
        "api..example.com",
        "-api.example.com",
        "api example.com",
        r"api\.example\.com",
        "*.127.0.0.1",
        "straße.example",
        "a" * 64 + ".example",
    ],
)
def test_a_malformed_pattern_is_refused_when_it_is_read(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        HostPattern.parse(text)
    assert caught.value.code == "host_pattern"
    assert repr(text) in str(caught.value)


def test_more_specific_patterns_rank_higher() -> None:
    texts = [
        "**",
        "**.com",
        "**.example.com",
        "*.example.com",
        "*.api.example.com",
        "api.example.com",
    ]
    patterns = [HostPattern.parse(text) for text in texts]
    assert [p.text for p in sorted([*patterns[3:], *patterns[:3]], key=lambda p: p.rank)] == texts
