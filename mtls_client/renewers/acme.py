"""Renewal by an ACME server (RFC 8555): step-ca, Caddy, pebble, a company's or a public CA."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import NameOID

from mtls_client._os.extras import optional
from mtls_client._tls.anchors import rooted
from mtls_client.errors import ConfigurationError, MTLSError, RenewalRefusedError
from mtls_client.renewers import _acme_ari as ari
from mtls_client.renewers._acme_account import EAB, Account, AccountOptions, kept_key
from mtls_client.renewers._acme_network import Network
from mtls_client.renewers._acme_order import Order
from mtls_client.renewers._acme_signing import Signer
from mtls_client.renewers._http import Issuer, checked_url
from mtls_client.renewers.csr import KeyKind, Request
from mtls_client.renewers.solvers import ChallengeKind, Solver
from mtls_client.trust import Trust

if TYPE_CHECKING:
    from mtls_client.identity import Identity
    from mtls_client.renewers.base import RenewalWindow

__all__ = ["ACME"]

_log = logging.getLogger("mtls_client")
_STEP_TIMEOUT = 30.0


class ACME:
    """Orders certificates for the same DNS names and IP addresses.

    The subject is not kept: ACME proves names, and a common name that is none of them is left
    out. The certificate must allow client authentication, which public CAs do not offer.

    Args:
        directory: the URL of the server's directory; `https`, or `http` to this machine.
        account_key: the file that holds the account's key; if it does not exist, a key is made
            there, once, readable by its owner only. Or the key itself: EC or RSA.
        solver: proves the names: `Standalone`, `Webroot`, `DNS` or your own `Solver`.
        eab: the external account binding, if the CA demands one for a new account.
        trust: what the server must prove.
        contact: e-mail addresses or URLs for a new account.
        agree_to_terms: whether you agree to the server's terms of service.
        profile: the kind of certificate, where the server offers several.
        key: the kind of the new key; that of the present one if None.
        reuse_key: keep the private key.
        timeout: how many seconds a renewal may take; a call that has begun is let finish, and
            has bounds of its own.

    Raises:
        MissingExtraError: the extra `acme` is not installed.
        ConfigurationError: the URL, solver or key is not one.

    Example:
        >>> renewer = ACME(  # doctest: +SKIP
        ...     "https://ca.internal/acme/acme/directory",
        ...     account_key="/var/lib/orders/acme.key",
        ...     solver=Standalone(),
        ...     trust=Trust.from_file("/etc/orders/ca.pem"),
        ... )
        >>> credential = Credential(source, renewer=renewer)  # doctest: +SKIP
    """

    def __init__(
        self,
        directory: str,
        *,
        account_key: str | Path | PrivateKeyTypes,
        solver: Solver,
        eab: EAB | None = None,
        trust: Trust = Trust.system(),
        contact: Iterable[str] = (),
        agree_to_terms: bool = False,
        profile: str | None = None,
        key: KeyKind | None = None,
        reuse_key: bool = False,
        timeout: float = 180.0,
    ) -> None:
        optional("acme", "acme")  # say so now, not in 60 days
        checked_url(directory)
        kind = getattr(solver, "kind", None)
        if kind not in get_args(ChallengeKind) or not isinstance(solver, Solver):
            raise ConfigurationError(
                f"not a solver of http-01 or dns-01: {type(solver).__name__}",
                hint="pass Standalone(), Webroot(path) or DNS(present, remove)",
                code="acme_solver_type",
            )
        self._directory, self._trust, self._solver = directory, trust, solver
        self._account_key = Path(account_key) if isinstance(account_key, str) else account_key
        self._options = AccountOptions(
            contact=tuple(one if ":" in one else f"mailto:{one}" for one in contact),
            agree_to_terms=agree_to_terms,
            eab=eab,
        )
        self._profile, self._key, self._reuse_key = profile, key, reuse_key
        self._timeout = timeout
        if not isinstance(self._account_key, Path):
            Signer(self._account_key)

    def renew(self, current: Identity) -> Identity:
        """Order a certificate for the names of the present one.

        Args:
            current: the present identity; it may have expired.

        Raises:
            RenewalError: there is none; `retryable` and `retry_after` say when to ask again.
            ConfigurationError: the account's key or the solver is of no use.
        """
        identifiers = _identifiers(current)
        key = self._account_key
        signer = Signer(kept_key(key) if isinstance(key, Path) else key)
        request = self._request(current, {value for _, value in identifiers})
        with self._issuer(current, self._timeout) as issuer:
            network = Network(issuer, self._directory, timeout=self._timeout)
            account = Account(network, signer, self._options)
            replaces = None
            if "renewalInfo" in network.directory:
                replaces = ari.certificate_id(current.certificate)
            order = Order(network, account, identifiers, profile=self._profile, replaces=replaces)
            order.prove(self._solver)
            renewed = request.joined(order.finalize(request.der))
        if not renewed.usable_for_client_auth:
            raise RenewalRefusedError(
                f"the issuer {issuer.host} issues for servers only: its certificate (issuer "
                f"{renewed.issuer}) does not allow client authentication, so no server would "
                "accept it from us",
                hint="public CAs issue no client certificates: use an ACME server of your own, "
                "with a profile or template that has extendedKeyUsage clientAuth, or another "
                "renewer",
                code="acme_not_for_clients",
            )
        return renewed

    def window(self, current: Identity) -> RenewalWindow | None:
        """Ask the server when to renew (RFC 9773); None if it does not say, or does not answer."""
        try:
            with self._issuer(current, _STEP_TIMEOUT) as issuer:
                network = Network(issuer, self._directory, timeout=_STEP_TIMEOUT)
                return ari.window(network, current.certificate)
        except MTLSError as error:
            _log.info("no renewal window: %s", error.args[0])
            return None

    def _issuer(self, current: Identity, timeout: float) -> Issuer:
        trust = rooted(self._trust, current)
        return Issuer(self._directory, trust, timeout=min(_STEP_TIMEOUT, timeout))

    def _request(self, current: Identity, proved: set[str]) -> Request:
        made = Request.renewing(current, reuse_key=self._reuse_key, key=self._key)
        common = made.csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        kept = [one for one in common if one.value in proved]
        extensions = [(one.value, one.critical) for one in made.csr.extensions]
        return Request(made.key, x509.Name(kept), extensions)

    def __repr__(self) -> str:
        return f"ACME({self._directory!r}, solver={self._solver!r})"


def _identifiers(current: Identity) -> list[tuple[str, str]]:
    """Return what an order is for: `dns` names and `ip` addresses (RFC 8738)."""
    found = [("dns", name) for name in current.san_dns]
    for one in current.certificate.extensions:
        if isinstance(one.value, x509.SubjectAlternativeName):
            found += [("ip", str(ip)) for ip in one.value.get_values_for_type(x509.IPAddress)]
    if not found:
        raise RenewalRefusedError(
            f"ACME cannot renew {current.subject or 'this certificate'}: it has no DNS name and no "
            "IP address that could be proved",
            hint="have a certificate with a DNS name in its subjectAltName issued, or use another "
            "renewer",
            code="acme_no_names",
        )
    return found
