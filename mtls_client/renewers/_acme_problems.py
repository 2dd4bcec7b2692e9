"""What an ACME server says went wrong (RFC 7807, RFC 8555 §6.7), as our errors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mtls_client.errors import RenewalError, RenewalRefusedError
from mtls_client.renewers._http import refusal, retry_after
from mtls_client.renewers._redaction import redacted

if TYPE_CHECKING:
    import httpx

__all__ = ["misunderstood", "problem_error", "response_error"]

_PREFIX = "urn:ietf:params:acme:error:"
_PASSING = {
    "badNonce",
    "connection",
    "dns",
    "incorrectResponse",
    "orderNotReady",
    "rateLimited",
    "serverInternal",
    "tls",
}
_HINTS = {
    "accountDoesNotExist": "see that account_key is the key of the account",
    "caa": "allow the CA in the CAA record of the domain",
    "connection": "http://DOMAIN/.well-known/acme-challenge/ must lead to the solver on port 80",
    "dns": "see that the name resolves where the CA looks it up",
    "externalAccountRequired": "have the CA give you a key identifier and an HMAC key, and pass "
    "eab=EAB(kid, key)",
    "incorrectResponse": "see that the answer comes from the solver, and not from another server",
    "rateLimited": "wait; renew fewer certificates, or ask the CA for a higher limit",
    "rejectedIdentifier": "the CA does not issue for this name: ask for others, or another CA",
    "unauthorized": "see that the CA sees what the solver shows, and that the account and its "
    "binding (eab=) are the right ones",
    "userActionRequired": "the CA wants a person to act, such as to agree to new terms",
}
_HINT = "ask who runs the CA; its log says more"
_URL = "the URL must be that of the directory, such as https://ca.internal/acme/directory"


def response_error(response: httpx.Response, host: str, domain: str | None = None) -> RenewalError:
    """Return the error for an answer whose status is 400 or above.

    Args:
        response: the answer.
        host: the server, for the message.
        domain: what it is about, if the problem does not say.
    """
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if isinstance(problem, dict) and isinstance(problem.get("type"), str):
        return problem_error(problem, host, domain, response)
    what = f"the issuer {host} does not answer as ACME does"
    if response.status_code >= 500:
        return refusal(response, what, hint=_HINT)
    return refusal(response, what, hint=_URL, code="acme_answer")


def problem_error(
    problem: object, host: str, domain: str | None, response: httpx.Response
) -> RenewalError:
    """Return the error for a problem document; the present identity stays whatever it says.

    Args:
        problem: the document, which may be anything.
        host: the server, for the message.
        domain: what it is about, if the problem does not say.
        response: the answer that it came with.
    """
    parts = list(_parts(problem))
    kind = next((one for one, _, _ in parts if one != "compound"), "unknown")
    about = next((name for _, _, name in parts if name), None) or domain
    details = "; ".join(dict.fromkeys(detail for _, detail, _ in parts if detail))
    reason = f"{details} ({kind})" if details else kind
    message = f"the issuer {host} says no{f' to {about}' if about else ''}: {reason}"
    instance = problem.get("instance") if isinstance(problem, Mapping) else None
    hint = _HINTS.get(kind, _HINT).replace("DOMAIN", about or "DOMAIN")
    hint += f": {instance}" if isinstance(instance, str) else ""
    snake = re.sub(r"(?=[A-Z]+)(?<=[a-z])", "_", kind).lower()
    again = kind in _PASSING or response.status_code >= 500
    return (RenewalError if again else RenewalRefusedError)(
        redacted(message),
        hint=redacted(hint),
        code=f"acme_{snake}",
        retry_after=retry_after(response) if again else None,
    )


def misunderstood(host: str, what: str) -> RenewalError:
    """Return the error for an answer that RFC 8555 does not allow."""
    return RenewalError(
        f"the issuer {host} does not answer as ACME does: {what}",
        hint=_URL,
        code="acme_answer",
    )


def _parts(problem: object) -> Iterator[tuple[str, str | None, str | None]]:
    """Yield kind, detail and domain of a problem, then those of its subproblems."""
    if not isinstance(problem, Mapping):
        return
    kind, detail = problem.get("type"), problem.get("detail") or problem.get("title")
    identifier: Any = problem.get("identifier")
    name = identifier.get("value") if isinstance(identifier, Mapping) else None
    yield (
        _known(kind),
        detail if isinstance(detail, str) else None,
        name if isinstance(name, str) else None,
    )
    further = problem.get("subproblems")
    for one in further if isinstance(further, list) else ():
        yield from _parts(one)


def _known(kind: object) -> str:
    """Return the name of an ACME error; the name ends up in a code, so it is letters only."""
    name = kind.removeprefix(_PREFIX) if isinstance(kind, str) else ""
    return name if re.fullmatch(r"[A-Za-z]{1,40}", name) else "unknown"
