"""What a server does with our certificate, and what it answers to one harmless request."""

from __future__ import annotations

import datetime
import http.client
import ssl
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TypeAlias

from mtls_client._formats import names
from mtls_client._tls.alerts import refused
from mtls_client._tls.chain import verified_chain
from mtls_client._tls.inner import build
from mtls_client._tls.probe import hung_up
from mtls_client.doctor.bounds import watchdog
from mtls_client.doctor.recorder import Recorder
from mtls_client.doctor.route import Route
from mtls_client.errors import (
    IdentityError,
    IdentityRejectedError,
    PinMismatchError,
    RejectionReason,
)
from mtls_client.explanation.answers import disguise
from mtls_client.identity import Identity
from mtls_client.trust import Trust

__all__ = ["Answer", "Presented", "present"]

_BEGINNING = 4096

_Failure: TypeAlias = "PinMismatchError | IdentityError | OSError | http.client.HTTPException"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server answered to the request.

    Attributes:
        status: the status code.
        server: the Server field, or an empty text.
        date: the server's clock, or None.
        refusal: why the answer refuses our identity, or None.
    """

    status: int
    server: str
    date: datetime.datetime | None
    refusal: RejectionReason | None


@dataclass(slots=True)
class Presented:
    """What came of it.

    Attributes:
        heard: what was said in the handshake, and later about certificates.
        chain: the verified chain as DER.
        version: of TLS, empty if there was no handshake.
        cipher: the cipher suite.
        rejection: the server's refusal of our identity, or None.
        failure: what else went wrong, or None.
        answer: what the server answered, or None.
    """

    heard: Recorder = field(default_factory=Recorder)
    chain: tuple[bytes, ...] = ()
    version: str = ""
    cipher: str = ""
    rejection: IdentityRejectedError | None = None
    failure: _Failure | None = None
    answer: Answer | None = None


def present(route: Route, identity: Identity | None, trust: Trust, *, request: bool) -> Presented:
    """Shake hands as a session would, wait for the server's word, and make a GET request.

    Args:
        route: the way to the server, which has passed the checks of the trust already.
        identity: what is presented, fit or not.
        trust: what is checked once more, pins included.
        request: make the request.

    Raises:
        Unreached: there is no server any more.
    """
    done = Presented()
    try:
        context = build(identity, trust, watch=done.heard)
        with (
            route.connect() as plain,
            context.wrap_socket(plain, server_hostname=route.host) as connection,
            watchdog(connection, route.seconds),
        ):
            done.version = connection.version() or ""
            done.cipher = (connection.cipher() or ("",))[0]
            done.chain = tuple(verified_chain(connection))
            if hung_up(connection, time.monotonic() + route.seconds):
                raise ConnectionResetError("the server hung up")
            connection.settimeout(route.seconds)
            if request:
                done.answer = _answer(connection, route)
    except IdentityRejectedError as error:
        done.rejection = error
    except (PinMismatchError, IdentityError) as error:
        done.failure = error
    except (OSError, http.client.HTTPException) as error:
        if done.heard.request is not None and _broken(error):
            reason = RejectionReason.UNKNOWN if identity else RejectionReason.MISSING
            done.rejection = refused(
                reason, None, host=route.host, identity=identity, certain=False
            )
        else:
            done.failure = error
    return done


def _broken(error: Exception) -> bool:
    kinds = (ConnectionError, ssl.SSLEOFError, http.client.RemoteDisconnected)
    return isinstance(error, kinds)


def _answer(connection: ssl.SSLSocket, route: Route) -> Answer:
    client = http.client.HTTPConnection(route.host, route.port)
    client.sock = connection
    headers = {"User-Agent": "mtls-doctor", "Accept": "*/*", "Connection": "close"}
    client.request("GET", route.target, headers=headers)
    response = client.getresponse()
    beginning = response.read(_BEGINNING) if response.status >= 400 else b""
    return Answer(
        response.status,
        names.printable(response.getheader("Server", ""))[:80],
        _moment(response.getheader("Date")),
        _disguised(response.status, beginning),
    )


def _disguised(status: int, beginning: bytes) -> RejectionReason | None:
    """Return why a page refuses our certificate, if it surely does."""
    page = disguise(status, beginning)
    if page is None or not page.certain:
        return None
    _, refused, reason = page.code.partition("rejected_")
    return RejectionReason(reason) if refused else None


def _moment(date: str | None) -> datetime.datetime | None:
    try:
        moment = parsedate_to_datetime(date or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
