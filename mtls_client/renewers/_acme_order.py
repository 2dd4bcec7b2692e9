"""One order: prove the names, hand in the request, fetch the certificate (RFC 8555 §7.4)."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mtls_client.errors import MTLSError, RenewalError, RenewalRefusedError
from mtls_client.renewers._acme_problems import misunderstood, problem_error
from mtls_client.renewers._acme_signing import base64url, is_base64url
from mtls_client.renewers._redaction import redacted
from mtls_client.renewers.solvers import Challenge

if TYPE_CHECKING:
    import httpx

    from mtls_client.renewers._acme_account import Account
    from mtls_client.renewers._acme_network import Network
    from mtls_client.renewers.solvers import Solver

__all__ = ["Order"]

_log = logging.getLogger("mtls_client")


class Order:
    """An order for a certificate.

    Args:
        network: the conversation with the server.
        account: who orders.
        identifiers: `(type, value)` of each name: `dns` or `ip` (RFC 8738).
        profile: the server's name for a kind of certificate, or None.
        replaces: the identifier of the certificate that is replaced (RFC 9773 §5), or None.

    Raises:
        RenewalError: the server does not take it.
    """

    def __init__(
        self,
        network: Network,
        account: Account,
        identifiers: Sequence[tuple[str, str]],
        *,
        profile: str | None,
        replaces: str | None,
    ) -> None:
        self._network, self._account = network, account
        self._ordered = {value.removeprefix("*.").lower() for _, value in identifiers}
        wanted: dict[str, Any] = {
            "identifiers": [{"type": kind, "value": value} for kind, value in identifiers]
        }
        if profile is not None:
            wanted["profile"] = profile
        response = self._placed(wanted, replaces)
        self._url = network.text(response.headers, "location")
        self._body = network.json(response)

    def _placed(self, wanted: dict[str, Any], replaces: str | None) -> httpx.Response:
        url = self._network.url("newOrder")
        if replaces is not None:
            # refused where another account or CA issued it, or a lost order replaces it already;
            # what else is wrong shows again without it
            with contextlib.suppress(RenewalRefusedError):
                return self._account.post(url, {**wanted, "replaces": replaces})
        return self._account.post(url, wanted)

    def prove(self, solver: Solver) -> None:
        """Solve the challenges of all names that are not proved yet; take all of them away again.

        Raises:
            RenewalError: the solver fails, or the server is not convinced.
        """
        urls = self._body.get("authorizations")
        if not isinstance(urls, list):
            raise misunderstood(self._network.host, "no authorizations")
        fetched = [(str(url), self._account.post(str(url))) for url in urls]
        pending = [
            (url, answer)
            for url, answer in fetched
            if self._network.json(answer).get("status") == "pending"
        ]
        answers = [self._challenge(self._network.json(answer), solver) for _, answer in pending]
        with _presented(solver, [challenge for challenge, _ in answers]):
            for _, url in answers:
                self._account.post(url, {})
            for (url, _), (challenge, _) in zip(pending, answers, strict=True):
                self._await_proof(url, challenge.domain)

    def finalize(self, csr: bytes) -> bytes:
        """Hand in the request and return the certificate with its chain as PEM.

        Args:
            csr: the request as DER.

        Raises:
            RenewalError: the server does not issue.
        """
        for attempt in itertools.count():
            response = self._account.post(self._url)
            body = self._network.json(response)
            if body.get("status") == "ready":
                url = self._network.text(body, "finalize")
                response = self._account.post(url, {"csr": base64url(csr)})
                body = self._network.json(response)
            if body.get("status") == "valid":
                return self._account.post(self._network.text(body, "certificate")).content
            if body.get("status") == "invalid":
                raise problem_error(body.get("error"), self._network.host, None, response)
            self._network.pause(response, attempt, "the certificate")
        raise AssertionError("a count has no end")

    def _challenge(self, authorization: dict[str, Any], solver: Solver) -> tuple[Challenge, str]:
        """Return the challenge of an authorization that a solver solves, and its URL."""
        identifier = authorization.get("identifier")
        domain = self._network.text(identifier if isinstance(identifier, dict) else {}, "value")
        if domain.lower() not in self._ordered:
            # no server makes us write records for other names
            raise misunderstood(self._network.host, "an authorization for what was not ordered")
        offered = _challenges(authorization)
        chosen = next((one for one in offered if one.get("type") == solver.kind), None)
        if chosen is None:
            kinds = ", ".join(str(one.get("type")) for one in offered) or "nothing"
            raise RenewalRefusedError(
                redacted(
                    f"the issuer {self._network.host} does not accept {solver.kind} for {domain}, "
                    f"but {kinds}"
                ),
                hint="a name with * is proved by DNS only, an IP address by HTTP only",
                code="acme_challenge_kind",
            )
        token = chosen.get("token")
        if not is_base64url(token):  # it becomes part of a path
            raise misunderstood(self._network.host, "a token that is not base64url")
        signer = self._account.signer
        value = signer.authorization if solver.kind == "http-01" else signer.digest
        challenge = Challenge(kind=solver.kind, domain=domain, token=token, value=value(token))
        return challenge, self._network.text(chosen, "url")

    def _await_proof(self, url: str, domain: str) -> None:
        for attempt in itertools.count():
            response = self._account.post(url)
            body = self._network.json(response)
            if body.get("status") == "valid":
                return
            if body.get("status") != "pending":
                errors = [one["error"] for one in _challenges(body) if one.get("error")]
                problem = errors[0] if errors else None
                raise problem_error(problem, self._network.host, domain, response)
            self._network.pause(response, attempt, f"the validation of {domain}")


def _challenges(authorization: dict[str, Any]) -> list[dict[str, Any]]:
    found = authorization.get("challenges")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


@contextlib.contextmanager
def _presented(solver: Solver, challenges: list[Challenge]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for challenge in challenges:
            stack.callback(_remove, solver, challenge)
            try:
                solver.present(challenge)
            except MTLSError:
                raise
            except Exception as error:
                raise RenewalError(
                    redacted(
                        f"the solver failed for {challenge.domain}: {type(error).__name__}: {error}"
                    ),
                    hint="the cause is the solver's own error",
                    code="acme_solver",
                ) from error
        yield


def _remove(solver: Solver, challenge: Challenge) -> None:
    try:
        solver.remove(challenge)
    except Exception:
        # a certificate is worth more than a tidy folder
        _log.warning(
            "the %s challenge of %s stays", challenge.kind, challenge.domain, exc_info=True
        )
