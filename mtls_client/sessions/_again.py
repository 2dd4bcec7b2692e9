"""When a request that was refused may be sent once more, with an identity that came since.

A server may begin to refuse the old certificate while its replacement is being written. What the
server did with the request decides whether it may be sent again:

* a certificate alert on a connection that was opened for this request, before one byte of an
  answer, which comes again in a second handshake that sends no request: TLS 1.2 and 1.3 servers
  hand no content to the application before they have accepted the certificate they asked for
  (RFC 5246 §7.3, RFC 8446 §4.4.2.4), so nothing was processed and any method may be sent again;
* anything else (a connection that was used before, where an alert may answer post-handshake
  authentication in the middle of a request; a connection that ended without an alert) proves
  nothing: only idempotent methods are sent again (RFC 9110 §9.2.2).

In both cases only if the body can be sent from its beginning, if the source really holds another
identity by now, and never twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mtls_client.errors import IdentityRejectedError

if TYPE_CHECKING:
    from mtls_client._tls.sockets import Connection
    from mtls_client.credential import Credential
    from mtls_client.leases import Leased

__all__ = ["Again", "surely_unprocessed"]

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})


def surely_unprocessed(error: Exception, connections: list[Connection]) -> Exception:
    """Mark a refusal that proves that the server has not seen the request.

    Args:
        error: what is about to be raised.
        connections: those that were opened for the request.
    """
    if isinstance(error, IdentityRejectedError):
        error.unprocessed = (
            error.certain
            and len(connections) == 1
            and connections[0].watch.refusal is not None
            and not connections[0].watch.received
        )
    return error


class Again:
    """The one further try of a request.

    Args:
        method: the HTTP method.
        rewind: makes the body ready to be sent again; tells whether it could.
    """

    def __init__(self, method: str | None, rewind: Callable[[], bool]) -> None:
        self._idempotent = (method or "").upper() in _IDEMPOTENT
        self._rewind = rewind
        self._tried = False

    def suits(self, error: Exception, leased: Leased) -> bool:
        """Tell whether a failure would allow it, if there were another identity."""
        return (
            isinstance(error, IdentityRejectedError)
            and leased.lease is not None
            and not self._tried
            and (self._idempotent or error.unprocessed)
        )

    def allowed(
        self,
        error: Exception,
        credential: Credential | None,
        leased: Leased,
        prove: Callable[[], IdentityRejectedError | None],
    ) -> bool:
        """Tell whether to send the request again, after a look at the source.

        Args:
            error: what happened.
            credential: where the identity came from.
            leased: what the request was sent with.
            prove: shakes hands once more, without a request, and returns the refusal or None.
        """
        if credential is None or leased.lease is None or not self.suits(error, leased):
            return False
        self._tried = True
        credential.refresh(now=True)
        if not leased.lease.generation.retired:
            return False
        if not self._idempotent:
            # post-handshake authentication refuses with the same alert, but later; who is
            # refused without having sent a request was refused in the handshake
            proof = prove()
            if proof is None or not proof.certain:
                return False
        return self._rewind()
