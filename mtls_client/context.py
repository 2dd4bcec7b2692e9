"""`MTLSContext`: an `ssl.SSLContext` that presents an identity and checks a trust.

Rules of this file:

* the context that libraries hold is a facade; every connection is made by an inner context that
  nobody else can reach, and that is replaced, never changed, when something changes;
* a handshake takes one reference and no lock;
* the facade itself has no identity and trusts nobody: a library that goes round it fails closed;
* what would weaken the trust is refused or ignored, see `mtls_client._tls.sealed`.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, Protocol
from weakref import WeakSet

from mtls_client._os.forking import renewed_after_fork
from mtls_client._tls.anchors import rooted
from mtls_client._tls.inner import InnerContext, shared
from mtls_client._tls.sealed import SealedContext
from mtls_client.errors import ConfigurationError
from mtls_client.events import Observer
from mtls_client.hosts import normalised
from mtls_client.leases import Leased
from mtls_client.scope import Credentials, Scope
from mtls_client.trust import Trust

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mtls_client.credential import Credential
    from mtls_client.identity import Identity
    from mtls_client.leases import Generation

__all__ = ["MTLSContext"]


class _Follower(Protocol):
    def drop(self, context: InnerContext, *, finished: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """All that a handshake needs, replaced as a whole."""

    alpn: tuple[str, ...]
    inner: Mapping[Identity | None, InnerContext]


class MTLSContext(SealedContext):
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
        deferred: load a bare source at the first connection.

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
    _followers: WeakSet[_Follower]

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
        deferred: bool = False,
    ) -> None:
        if not isinstance(trust, Trust):
            raise ConfigurationError(
                f"trust is a {type(trust).__name__}",
                hint="write trust=Trust.from_file('ca.pem') or Trust.system()",
                code="trust_type",
            )
        self._scope = Scope.of(credential, hosts, deferred=deferred)
        self._trust = trust
        self._observers = tuple(observers)
        self._lock = threading.Lock()
        self._snapshot = _Snapshot(alpn=tuple(alpn), inner=MappingProxyType({}))
        self._followers: WeakSet[_Follower] = WeakSet()
        renewed_after_fork(self)
        # now, so that a key that OpenSSL refuses is found here and not in the first request
        for entry in self._scope.credentials:
            entry.attach(self)
        if not self._scope.credentials:
            self._inner(None)

    @property
    def trust(self) -> Trust:
        """What servers must prove."""
        return self._trust

    @property
    def credentials(self) -> tuple[Credential, ...]:
        """Every credential whose identities are presented."""
        return self._scope.credentials

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

    def credential_for(self, host: str | bytes | None) -> Credential | None:
        """Return the credential that is meant for a host, or None."""
        return self._scope.credential_for(normalised(host) if host else None)

    def inner_for(self, host: str) -> InnerContext:
        """Return the context that connections to a host are made with at this moment."""
        credential = self.credential_for(host)
        return self._inner(credential.identity if credential is not None else None)

    def lease(self, host: str | bytes | None) -> Leased:
        """Return the context to connect to a host with, and the lease on its identity.

        Raises:
            IdentityError: there is no identity yet, and the source cannot be loaded.
        """
        credential = self.credential_for(host)
        if credential is None:
            return Leased(self._inner(None), None)
        lease = credential.lease()
        return Leased(self._inner(lease.generation.identity), lease)

    def follow(self, follower: _Follower) -> None:
        """Tell a follower of each inner context that no request will take a connection of again.

        It is told again whenever a response ends that still used it, `finished` with the last.
        """
        self._followers.add(follower)

    def prepare(self, identity: Identity) -> None:
        """Build the inner context for an identity that is about to be presented."""
        self._inner(identity)

    def drain(self, generation: Generation) -> None:
        """Let go of the inner context of a retired generation, once no request starts with it."""
        if generation.starting:
            return
        inner = self._snapshot.inner.get(generation.identity)
        for follower in list(self._followers):
            if inner is not None:
                follower.drop(inner, finished=not generation.leases)
        if not generation.leases:
            with self._lock:
                snapshot = self._snapshot
                rest = {k: v for k, v in snapshot.inner.items() if k is not generation.identity}
                self._snapshot = replace(snapshot, inner=MappingProxyType(rest))

    def after_fork(self) -> None:
        """Start over in a child."""
        self._lock = threading.Lock()

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
        name, credential = self._ready(server_side, server_hostname, session)
        if credential is not None:
            credential.refresh()
        leased = self.lease(name)
        try:
            connection = leased.context.wrap_socket(
                sock,
                do_handshake_on_connect=do_handshake_on_connect,
                suppress_ragged_eofs=suppress_ragged_eofs,
                server_hostname=name,
            )
        except BaseException:
            leased.release()
            raise
        # the library that connects does not say when it is done: when the connection is
        connection.on_close = leased.release  # type: ignore[attr-defined]  # a CheckedSocket
        leased.begun()
        leased.release_with(connection)
        return connection

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Connect two buffers, as async libraries do; see `ssl.SSLContext.wrap_bio`."""
        name, credential = self._ready(server_side, server_hostname, session)
        if credential is not None:
            credential.refresh_soon()
        leased = self.lease(name)
        leased.begun()
        connection = leased.context.wrap_bio(incoming, outgoing, server_hostname=name)
        leased.release_with(connection)
        return connection

    def _ready(
        self,
        server_side: bool,
        server_hostname: str | bytes | None,
        session: ssl.SSLSession | None,
    ) -> tuple[str | None, Credential | None]:
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
        return name, self._scope.credential_for(name)

    def _inner(self, identity: Identity | None) -> InnerContext:
        inner = self._snapshot.inner.get(identity)
        if inner is not None:
            return inner
        with self._lock:
            snapshot = self._snapshot
            inner = snapshot.inner.get(identity)
            if inner is None:
                inner = shared(
                    identity,
                    rooted(self._trust, identity),
                    alpn=snapshot.alpn,
                    observers=self._observers,
                    scope=self._scope.patterns,
                )
                contexts = MappingProxyType({**snapshot.inner, identity: inner})
                self._snapshot = replace(snapshot, inner=contexts)
            return inner

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        """Offer protocols by ALPN (RFC 7301); libraries call this at every connection."""
        alpn = tuple(alpn_protocols)
        if alpn == self._snapshot.alpn:
            return
        with self._lock:
            self._snapshot = _Snapshot(alpn=alpn, inner=MappingProxyType({}))

    def _any(self) -> InnerContext:
        first = next(iter(self._scope.credentials), None)
        return self._inner(first.identity if first is not None else None)

    def __repr__(self) -> str:
        return f"<MTLSContext: {self._trust!r}, {self._scope!r}>"

    def __reduce__(self) -> NoReturn:
        raise ConfigurationError(
            "a context holds a private key and cannot be pickled",
            hint="make one in each process",
            code="pickle",
        )
