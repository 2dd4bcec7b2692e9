"""Assert that an error gives nothing away, nor anything it is chained to."""

from __future__ import annotations

import pickle
import re
import traceback

from mtls_client import MTLSError

_LONG_BASE64 = re.compile(r"[A-Za-z0-9+/]{40,}")
_PUBLIC = re.compile(r"\bsha256/[A-Za-z0-9+/]{43}=|\b[0-9a-f]{64}\b")  # pins and fingerprints


def words(error: BaseException) -> str:
    """Return all that can be seen of an error and of those it comes from."""
    seen: list[str] = []
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is not None:
            seen += [str(one), repr(one), repr(one.args), repr(getattr(one, "__dict__", {}))]
            pending += [one.__cause__, one.__context__]
    trace = traceback.format_exception_only(error)
    return "\n".join([*seen, *trace])


def assert_silent(error: BaseException, *secrets: str | bytes) -> None:
    text = words(error)
    for secret in secrets:
        shown = secret if isinstance(secret, str) else secret.decode("latin-1")
        assert not shown or shown not in text
    assert _LONG_BASE64.findall(_PUBLIC.sub("", text)) == []
    assert isinstance(error, MTLSError)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
