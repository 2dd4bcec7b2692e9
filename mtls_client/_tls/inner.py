"""One `ssl.SSLContext` for one identity under one trust, never changed once it is used.

OpenSSL reads a context without a lock while it shakes hands: a certificate, a key or an ALPN
list that changes under it fails handshakes, garbles them or crashes the process. Everything is
therefore set in `build`, and a change is a new context.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, NoReturn
from weakref import WeakValueDictionary

from mtls_client._tls.anchors import anchor
from mtls_client._tls.keys import present
from mtls_client._tls.sockets import CheckedObject, CheckedSocket
from mtls_client.errors import ConfigurationError
from mtls_client.events import Observer

if TYPE_CHECKING:
    from mtls_client.identity import Identity
    from mtls_client.trust import Trust

__all__ = ["InnerContext", "build", "shared", "verify_flags"]


class InnerContext(ssl.SSLContext):
    """A context whose connections know what to check and whom to tell; sealed once it is built.

    Libraries reach it through the `context` of a connection.
    """

    _sealed = False

    # typeshed has these as attributes of instances that are None until assigned
    sslsocket_class = CheckedSocket
    sslobject_class = CheckedObject

    identity: Identity | None
    trust: Trust
    observers: tuple[Observer, ...]
    scope: tuple[str, ...]
    alpn: tuple[str, ...]

    def __setattr__(self, name: str, value: object) -> None:
        if self._sealed:
            # libraries write back what they read
            if getattr(self, name, None) == value:
                return
            _refuse()
        super().__setattr__(name, value)

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        """Offer protocols by ALPN (RFC 7301); libraries ask for the same ones again and again."""
        if not self._sealed:
            super().set_alpn_protocols(list(alpn_protocols))
        elif tuple(alpn_protocols) != self.alpn:
            _refuse()


def _refuse(*_args: object, **_options: object) -> NoReturn:
    raise ConfigurationError(
        "the context of a connection cannot be changed: other connections use it",
        hint="make another MTLSContext with another trust or credential",
        code="context_fixed",
    )


_CHANGES = (
    "load_cert_chain",
    "load_default_certs",
    "load_verify_locations",
    "set_ciphers",
    "set_default_verify_paths",
)


def shared(
    identity: Identity | None,
    trust: Trust,
    *,
    alpn: tuple[str, ...] = (),
    observers: tuple[Observer, ...] = (),
    scope: tuple[str, ...] = (),
) -> InnerContext:
    """Return a context that somebody has built already, or build it: it never changes.

    The arguments and errors are those of `build`.
    """
    key = (identity, trust, alpn, observers, scope)
    try:
        context = _built.get(key)
    except TypeError:  # an observer without a hash
        return build(identity, trust, alpn=alpn, observers=observers, scope=scope)
    if context is None:
        context = build(identity, trust, alpn=alpn, observers=observers, scope=scope)
        _built[key] = context
    return context


_built: WeakValueDictionary[Hashable, InnerContext] = WeakValueDictionary()


def build(
    identity: Identity | None,
    trust: Trust,
    *,
    alpn: Sequence[str] = (),
    observers: tuple[Observer, ...] = (),
    scope: tuple[str, ...] = (),
    watch: Callable[..., None] | None = None,
) -> InnerContext:
    """Build a context that presents an identity and checks a trust.

    Args:
        identity: what to present, or None for nothing.
        trust: what the server must prove.
        alpn: protocols to offer (RFC 7301), most wanted first.
        observers: told of every handshake.
        scope: the host patterns the identity is limited to, for messages only.
        watch: called for every TLS message, see `ssl.SSLContext._msg_callback`; it costs every
            connection an eighth of its time.

    Raises:
        IdentityError: OpenSSL refuses the identity.
    """
    context = InnerContext(ssl.PROTOCOL_TLS_CLIENT)
    context.identity, context.trust = identity, trust
    context.observers, context.scope, context.alpn = observers, scope, tuple(alpn)
    context.minimum_version = trust.minimum_version
    if trust.maximum_version is not None:
        context.maximum_version = trust.maximum_version
    if trust.verified:
        context.hostname_checks_common_name = False
        context.verify_flags = verify_flags(trust)
        anchor(context, trust)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if identity is not None:
        present(context, identity)
        # Apache asks per location: after the handshake (RFC 8446 §4.6.2)
        context.post_handshake_auth = True
    if alpn:
        context.set_alpn_protocols(list(alpn))
    if watch is not None:
        context._msg_callback = watch
    for change in _CHANGES:
        setattr(context, change, _refuse)
    context._sealed = True
    return context


def verify_flags(trust: Trust) -> ssl.VerifyFlags:
    """Return what OpenSSL checks under a trust, beside dates and names."""
    # the flags of Python 3.13, on every Python: an intermediate may be a root, and certificates
    # must obey RFC 5280
    flags = ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST | ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    if not trust.allow_legacy_ca:
        flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    if trust.revocation == "leaf":
        flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
    elif trust.revocation == "chain":
        flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN
    return flags
