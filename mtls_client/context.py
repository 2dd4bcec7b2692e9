"""`MTLSContext`: an `ssl.SSLContext` that presents an identity and checks a trust.

Rules of this file:

* the context that libraries hold is a facade; every connection is made by an inner context that
  nobody else can reach, and that is replaced, never changed, when something changes;
* a handshake takes one reference and no lock;
* the facade itself has no identity and trusts nobody: a library that goes round it fails closed;
* what would weaken the trust is refused with an error that says what to write instead, or, where
  libraries do it as a habit, ignored (`load_verify_locations`, `load_default_certs`).
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

from mtls_client._tls.inner import InnerContext, shared
from mtls_client.errors import ConfigurationError
from mtls_client.events import Observer
from mtls_client.hosts import normalised
from mtls_client.scope import Credentials, Scope
from mtls_client.trust import Trust

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mtls_client.credential import Credential

__all__ = ["MTLSContext"]

_log = logging.getLogger("mtls_client")


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """All that a handshake needs, replaced as a whole."""

    alpn: tuple[str, ...]
    inner: Mapping[Credential | None, InnerContext]


class MTLSContext(ssl.SSLContext):
    """An `ssl.SSLContext` for any library that takes one.

    It presents the identity of a credential, checks the server by a trust, and offers TLS 1.2
    and 1.3. Give each HTTP client a context of its own: libraries set ALPN on it.

    Args:
        credential: a `Credential`, a source, a mapping from host pattern to either, or None to
            present nothing.
        trust: what servers must prove.
        hosts: patterns of the only hosts that see the identity (see `mtls_client.hosts`).
        observers: told of every handshake.
        alpn: the protocols to offer (RFC 7301); most libraries set them by themselves.

    Raises:
        IdentityError: the identity cannot be loaded or used.
        ConfigurationError: a pattern is malformed.

    Example:
        >>> context = MTLSContext(source, trust=trust, hosts=["api.example.com"])  # doctest: +SKIP
        >>> http.client.HTTPSConnection("api.example.com", context=context)  # doctest: +SKIP
    """

    _scope: Scope
    _trust: Trust
    _observers: tuple[Observer, ...]
    _lock: threading.Lock
    _snapshot: _Snapshot

    def __new__(cls, *_args: Any, **_options: Any) -> MTLSContext:
        """Make the facade: a bare context, which trusts nobody."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(
        self,
        credential: Credentials,
        *,
        trust: Trust = Trust.system(),
        hosts: Iterable[str] | None = None,
        observers: Iterable[Observer] = (),
        alpn: Iterable[str] = (),
    ) -> None:
        if not isinstance(trust, Trust):
            raise ConfigurationError(
                f"trust is a {type(trust).__name__}",
                hint="write trust=Trust.from_file('ca.pem') or Trust.system()",
                code="trust_type",
            )
        self._scope = Scope.of(credential, hosts)
        self._trust = trust
        self._observers = tuple(observers)
        self._lock = threading.Lock()
        self._snapshot = _Snapshot(alpn=tuple(alpn), inner=MappingProxyType({}))
        # now, so that a key that OpenSSL refuses is found here and not in the first request
        for entry in self._scope.credentials or (None,):
            self._inner_for(entry)

    @property
    def trust(self) -> Trust:
        """What servers must prove."""
        return self._trust

    def elsewhere(self, credential: Credentials = None) -> MTLSContext:
        """Return a context for others than the hosts that were called: redirects and proxies.

        It presents nothing, or the given credential, and checks all but the pins that name no
        host.
        """
        return MTLSContext(
            credential,
            trust=self._trust.across_origins(),
            observers=self._observers,
            alpn=self._snapshot.alpn,
        )

    def inner_for(self, host: str) -> InnerContext:
        """Return the context that connections to a host are made with at this moment."""
        return self._inner_for(self._scope.credential_for(normalised(host)))

    def wrap_socket(
        self,
        sock: Any,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLSocket:
        """Connect a socket; see `ssl.SSLContext.wrap_socket`."""
        name, inner = self._ready(server_side, server_hostname, session)
        return inner.wrap_socket(
            sock,
            do_handshake_on_connect=do_handshake_on_connect,
            suppress_ragged_eofs=suppress_ragged_eofs,
            server_hostname=name,
        )

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Connect two buffers, as async libraries do; see `ssl.SSLContext.wrap_bio`."""
        name, inner = self._ready(server_side, server_hostname, session)
        return inner.wrap_bio(incoming, outgoing, server_hostname=name)

    def _ready(
        self,
        server_side: bool,
        server_hostname: str | bytes | None,
        session: ssl.SSLSession | None,
    ) -> tuple[str | None, InnerContext]:
        if server_side:
            raise ConfigurationError(
                "an MTLSContext is for clients only",
                hint="servers use ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)",
                code="server_side",
            )
        if session is not None:
            raise ConfigurationError(
                "a session passed by hand would skip the checks of the server",
                hint="leave session= out",
                code="session",
            )
        name = normalised(server_hostname) if server_hostname else None
        return name, self._inner_for(self._scope.credential_for(name))

    def _inner_for(self, credential: Credential | None) -> InnerContext:
        identity = credential.identity if credential is not None else None
        inner = self._snapshot.inner.get(credential)
        if inner is not None and inner.identity is identity:
            return inner
        with self._lock:
            snapshot = self._snapshot
            inner = snapshot.inner.get(credential)
            if inner is not None and inner.identity is identity:
                return inner
            inner = shared(
                identity,
                self._trust,
                alpn=snapshot.alpn,
                observers=self._observers,
                scope=self._scope.patterns,
            )
            contexts = MappingProxyType({**snapshot.inner, credential: inner})
            self._snapshot = replace(snapshot, inner=contexts)
            return inner

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        """Offer protocols by ALPN (RFC 7301); libraries call this at every connection."""
        alpn = tuple(alpn_protocols)
        if alpn == self._snapshot.alpn:
            return
        with self._lock:
            self._snapshot = _Snapshot(alpn=alpn, inner=MappingProxyType({}))

    def load_verify_locations(
        self, cafile: Any = None, capath: Any = None, cadata: Any = None
    ) -> None:
        """Do nothing: HTTP libraries pour CA bundles into every context, and trust is fixed."""
        del cafile, capath, cadata
        _log.debug("load_verify_locations ignored: the roots are those of %r", self._trust)

    def load_default_certs(self, purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH) -> None:
        """Do nothing: HTTP libraries pour CA bundles into every context, and trust is fixed."""
        del purpose
        _log.debug("load_default_certs ignored: the roots are those of %r", self._trust)

    def set_default_verify_paths(self) -> None:
        """Do nothing: HTTP libraries pour CA bundles into every context, and trust is fixed."""
        _log.debug("set_default_verify_paths ignored: the roots are those of %r", self._trust)

    def cert_store_stats(self) -> dict[str, int]:
        """Count the roots, see `ssl.SSLContext.cert_store_stats`."""
        return self._any().cert_store_stats()

    def get_ca_certs(self, binary_form: bool = False) -> Any:
        """List the roots, see `ssl.SSLContext.get_ca_certs`."""
        return self._any().get_ca_certs(binary_form)

    def get_ciphers(self) -> Any:
        """List the cipher suites, see `ssl.SSLContext.get_ciphers`."""
        return self._any().get_ciphers()

    def _any(self) -> InnerContext:
        return self._inner_for(next(iter(self._scope.credentials), None))

    def __repr__(self) -> str:
        return f"<MTLSContext: {self._trust!r}, {self._scope!r}>"

    def __reduce__(self) -> NoReturn:
        raise ConfigurationError(
            "a context holds a private key and cannot be pickled",
            hint="make one in each process",
            code="pickle",
        )


def _fixed(name: str, instead: str) -> property:
    """Return a property that reads the inner context's and cannot be changed."""

    def read(self: MTLSContext) -> Any:
        return getattr(self._any(), name)

    def write(self: MTLSContext, value: Any) -> None:
        # libraries write back what they read; only a change is refused
        if value != read(self):
            raise ConfigurationError(
                f"{name} of an MTLSContext cannot be changed", hint=instead, code="context_fixed"
            )

    return property(read, write, doc=f"The `{name}` of the inner contexts; cannot be changed.")


def _refused(name: str, instead: str) -> Any:
    def refuse(_self: MTLSContext, *_args: Any, **_options: Any) -> NoReturn:
        raise ConfigurationError(
            f"{name}() would change a context in use", hint=instead, code="context_fixed"
        )

    refuse.__name__, refuse.__doc__ = name, "Refused: the context is fixed when it is made."
    return refuse


_TRUST = "say it with trust=Trust.from_file('ca.pem'), or Trust.dangerously_unverified() in a test"
_VERSION = "say it with trust=Trust.system(minimum_version='1.3')"
_FIXED = "TLS settings are fixed: TLS 1.2 or newer with OpenSSL's safe cipher suites"
_IDENTITY = "pass the identity when the context is made: MTLSContext(FileSource('client.pem'))"

for _name, _instead in {
    "verify_mode": _TRUST,
    "check_hostname": _TRUST,
    "hostname_checks_common_name": _TRUST,
    "verify_flags": _TRUST,
    "minimum_version": _VERSION,
    "maximum_version": _VERSION,
    "options": _FIXED,
    "post_handshake_auth": _FIXED,
    "keylog_filename": "session keys are not written to files",
    "sni_callback": _FIXED,
    "_msg_callback": _FIXED,
}.items():
    setattr(MTLSContext, _name, _fixed(_name, _instead))

for _name, _instead in {
    "load_cert_chain": _IDENTITY,
    "set_ciphers": _FIXED,
    "set_ecdh_curve": _FIXED,
    "load_dh_params": _FIXED,
    "set_servername_callback": _FIXED,
    "set_psk_client_callback": _FIXED,
    "set_psk_server_callback": _FIXED,
    "set_npn_protocols": _FIXED,
}.items():
    setattr(MTLSContext, _name, _refused(_name, _instead))
