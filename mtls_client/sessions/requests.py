"""`Session`, a `requests.Session`, and `MTLSAdapter` to mount on a session of one's own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

import requests
from requests.adapters import DEFAULT_POOLBLOCK, DEFAULT_POOLSIZE, DEFAULT_RETRIES, HTTPAdapter
from requests.utils import select_proxy

from mtls_client._os.forking import renewed_after_fork
from mtls_client._tls.causes import buried
from mtls_client._tls.routes import STRAIGHT, Route
from mtls_client.context import MTLSContext
from mtls_client.errors import ConfigurationError, IdentityRejectedError
from mtls_client.events import Observer
from mtls_client.sessions._again import Again, surely_unprocessed
from mtls_client.sessions._bodies import hold, replay
from mtls_client.sessions._errors import both
from mtls_client.sessions._origins import HOP, Hop
from mtls_client.sessions._refusals import Refusals, opening
from mtls_client.trust import Trust

if TYPE_CHECKING:
    from urllib3.util import Retry

    from mtls_client._tls.inner import InnerContext
    from mtls_client.leases import Leased
    from mtls_client.scope import Credentials

__all__ = ["MTLSAdapter", "Session"]

_ALPN = ("http/1.1",)


class MTLSAdapter(HTTPAdapter):
    """A requests adapter that presents an identity and checks a trust.

    Mount it for the narrowest prefix that does: `session.mount("https://api.example.com", …)`. It
    sees no hop of a redirect that another adapter makes; `Session` sees them all.

    Args:
        credential: a `Credential`, a source, a mapping from host pattern to either, or None.
        trust: what servers must prove.
        hosts: patterns of the only hosts that see the identity.
        proxy_identity: what an HTTPS proxy is presented, by default nothing.
        observers: told of every handshake.
        pool_connections: see `requests.adapters.HTTPAdapter`.
        pool_maxsize: see `requests.adapters.HTTPAdapter`.
        max_retries: see `requests.adapters.HTTPAdapter`.
        pool_block: see `requests.adapters.HTTPAdapter`.

    Raises:
        IdentityError: the identity cannot be loaded or used.
        ConfigurationError: a pattern is malformed.
    """

    def __init__(
        self,
        credential: Credentials,
        *,
        trust: Trust = Trust.system(),
        hosts: Iterable[str] | None = None,
        proxy_identity: Credentials = None,
        observers: Iterable[Observer] = (),
        pool_connections: int = DEFAULT_POOLSIZE,
        pool_maxsize: int = DEFAULT_POOLSIZE,
        max_retries: Retry | int = DEFAULT_RETRIES,
        pool_block: bool = DEFAULT_POOLBLOCK,
    ) -> None:
        self._context = MTLSContext(
            credential, trust=trust, hosts=hosts, observers=observers, alpn=_ALPN
        )
        self._stray_context: MTLSContext | None = None
        self._proxy_identity = proxy_identity
        self._refusals = Refusals()
        super().__init__(pool_connections, pool_maxsize, max_retries, pool_block)
        self._pools = {"connections": pool_connections, "maxsize": pool_maxsize}
        self._block = pool_block
        self._context.follow(self)
        renewed_after_fork(self)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """Send a request; see `requests.adapters.HTTPAdapter.send`.

        Raises:
            ConfigurationError: `verify` or `cert` would change the trust or the identity.
            TrustError: we refused the server; also a `requests.exceptions.SSLError`.
            IdentityRejectedError: the server refused us; also a requests exception.
        """
        _refuse_overrides(verify, cert)
        hop = _marked(request)
        context = self._stray() if hop.astray else self._context
        host = hop.address[0]
        if (credential := context.credential_for(host)) is not None:
            credential.refresh()
        leased = context.lease(host)
        again = Again(request.method, replay(request))
        while True:
            try:
                return self._send(request, leased, hop, stream, timeout, proxies)
            except requests.exceptions.RequestException as error:
                leased.release()
                prove = partial(self._ask, request, leased, hop, proxies)
                if not again.allowed(error, credential, leased, prove):
                    raise
            except BaseException:
                leased.release()
                raise
            leased = context.lease(host)

    def _ask(
        self, request: requests.PreparedRequest, leased: Leased, hop: Hop, proxies: Any
    ) -> IdentityRejectedError | None:
        """Ask the server once more whether it refuses the identity; blocks."""
        route = self._route(select_proxy(request.url or "", proxies))
        return self._refusals.found(leased.context, *hop.address, route) if route else None

    def _route(self, proxy: str | None) -> Route | None:
        """Return the way that connections go, or None if it is one that a probe cannot go."""
        if not proxy:
            return STRAIGHT
        manager = self.proxy_manager_for(proxy if "://" in proxy else f"http://{proxy}")
        if manager.proxy is None:  # SOCKS
            return None
        return Route(
            (manager.proxy.host.strip("[]"), manager.proxy.port),
            tuple(manager.proxy_headers.items()),
            manager.proxy_config.ssl_context,
        )

    def _send(
        self,
        request: requests.PreparedRequest,
        leased: Leased,
        hop: Hop,
        stream: bool,
        timeout: Any,
        proxies: Any,
    ) -> requests.Response:
        handled = sys.exception()
        with opening() as connections:
            try:
                # as `verify`, for `build_connection_pool_key_attributes`
                response = super().send(request, stream, timeout, leased.context, None, proxies)  # type: ignore[arg-type]
            except requests.exceptions.RequestException as error:
                ours = buried(error, handled)
                broke = isinstance(error, requests.exceptions.ConnectionError) and not hop.astray
                if broke and self._refusals.suspect(ours, connections, leased.context):
                    ours = self._ask(request, leased, hop, proxies) or ours
                if ours is None:
                    raise
                raise surely_unprocessed(both(ours, error), connections) from error
        hold(response.raw, leased)
        return response

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[Any, Any]:
        """Choose the pool: one for each context, so for each identity."""
        # not requests' own keywords: a bundle in them is read at every connection
        host, _ = super().build_connection_pool_key_attributes(request, True, cert)
        return host, {"ssl_context": verify}

    def drop(self, context: InnerContext, *, finished: bool) -> None:
        """Close the pools of an identity that was replaced; responses in use go on."""
        del finished  # a connection that comes back to a closed pool is closed
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            pools = manager.pools
            for key in pools.keys():  # noqa: SIM118 (a copy; the container cannot be iterated)
                if key.key_ssl_context is context and (pool := pools.pop(key, None)) is not None:
                    pool.close()

    def after_fork(self) -> None:
        """Start over in a child: a connection that two processes use garbles both."""
        self.init_poolmanager(**self._pools, block=self._block)
        self.proxy_manager = {}

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Do nothing: the context knows what to verify, and a pool is shared by requests."""

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        """Return the manager for a proxy, which is presented `proxy_identity` or nothing."""
        if proxy not in self.proxy_manager and proxy.lower().startswith("https:"):
            context = self._context.elsewhere(self._proxy_identity)
            proxy_kwargs.setdefault("proxy_ssl_context", context)
        return super().proxy_manager_for(proxy, **proxy_kwargs)

    def _stray(self) -> MTLSContext:
        if self._stray_context is None:
            self._stray_context = self._context.elsewhere()
        return self._stray_context

    def __reduce__(self) -> NoReturn:
        raise _no_pickle("an adapter")


class _PlainAdapter(HTTPAdapter):
    """For http: presents nothing, but keeps track of where a chain of redirects has been."""

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> Any:
        _marked(request)
        return super().send(request, *args, **options)


class Session(requests.Session):
    """A `requests.Session` that presents an identity and checks a trust.

    Everything else is as in requests. Environment proxies and netrc are honoured;
    `REQUESTS_CA_BUNDLE` and `CURL_CA_BUNDLE` are not: the trust is what the caller says.

    Args:
        credential: a `Credential`, a source, a mapping from host pattern to either, or None.
        trust: what servers must prove.
        hosts: patterns of the only hosts that see the identity.
        proxy_identity: what an HTTPS proxy is presented, by default nothing.
        observers: told of every handshake.
        pool_connections: see `requests.adapters.HTTPAdapter`.
        pool_maxsize: see `requests.adapters.HTTPAdapter`.
        max_retries: see `requests.adapters.HTTPAdapter`.
        pool_block: see `requests.adapters.HTTPAdapter`.

    Raises:
        IdentityError: the identity cannot be loaded or used.
        ConfigurationError: a pattern is malformed.

    Example:
        >>> with Session(FileSource("client.p12", password="…")) as session:  # doctest: +SKIP
        ...     session.get("https://api.example.com/orders")
    """

    def __init__(
        self,
        credential: Credentials,
        *,
        trust: Trust = Trust.system(),
        hosts: Iterable[str] | None = None,
        proxy_identity: Credentials = None,
        observers: Iterable[Observer] = (),
        pool_connections: int = DEFAULT_POOLSIZE,
        pool_maxsize: int = DEFAULT_POOLSIZE,
        max_retries: Retry | int = DEFAULT_RETRIES,
        pool_block: bool = DEFAULT_POOLBLOCK,
    ) -> None:
        super().__init__()
        self.mount(
            "https://",
            MTLSAdapter(
                credential,
                trust=trust,
                hosts=hosts,
                proxy_identity=proxy_identity,
                observers=observers,
                pool_connections=pool_connections,
                pool_maxsize=pool_maxsize,
                max_retries=max_retries,
                pool_block=pool_block,
            ),
        )
        self.mount("http://", _PlainAdapter())

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("verify", "cert"):
            _refuse_overrides(**{name: value})
        super().__setattr__(name, value)

    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:
        """Take proxies from the environment, but neither trust nor identity."""
        _refuse_overrides(verify, cert)
        settings = super().merge_environment_settings(url, proxies, stream, verify, cert)
        return {**settings, "verify": True, "cert": None}

    def __getstate__(self) -> NoReturn:
        raise _no_pickle("a session")


def _marked(request: requests.PreparedRequest) -> Hop:
    """Mark a request with its hop.

    requests copies the hooks, and nothing else of ours, to the request of a redirect.
    """
    try:
        url = urlsplit(request.url or "")
        hop = Hop.to(url.scheme, url.hostname or "", url.port, request.hooks.get(HOP))
    except ValueError as error:  # a server can redirect to any port and any name
        raise requests.exceptions.InvalidURL(error, request=request) from error
    request.hooks = {**request.hooks, HOP: hop}
    return hop


def _refuse_overrides(verify: Any = True, cert: Any = None) -> None:
    if verify not in (True, None) and verify not in _bundles_of_the_environment():
        raise ConfigurationError(
            f"verify={verify!r} would change what servers must prove",
            hint="say it when the session is made: trust=Trust.from_file('ca.pem'), "
            "or Trust.dangerously_unverified() in a test",
            code="verify",
        )
    if cert is not None:
        raise ConfigurationError(
            "cert= would change the identity of every user of the session",
            hint="make a session for each identity, or pass a mapping from host to source",
            code="cert",
        )


def _bundles_of_the_environment() -> tuple[str, ...]:
    # a plain session with our adapter hands these over as if the caller had said so
    names = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    return tuple(os.environ[name] for name in names if os.environ.get(name))


def _no_pickle(what: str) -> ConfigurationError:
    return ConfigurationError(
        f"{what} holds a private key and cannot be pickled",
        hint="make one in each process",
        code="pickle",
    )
