"""Exceptions of any library, those of mtls-client among them.

They are judged from the surest evidence to the vaguest: our own errors, what OpenSSL said, what the
operating system or a response said, and at last that something ended without a word.
What was merely being handled when an error was raised counts only if the error itself has no
cause that is known: `except MTLSError: call(the_other_server)` is how people fall back.
"""

from __future__ import annotations

import contextlib
import errno
import re
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from mtls_client import errors
from mtls_client._tls.causes import inside
from mtls_client._tls.verdicts import verdict
from mtls_client.explanation.answers import answered
from mtls_client.explanation.openssl import said, verification
from mtls_client.explanation.value import Explanation, Whose

__all__ = ["failed"]


def failed(error: BaseException) -> Explanation:
    """Explain an exception."""
    caused, all_of_it = list(inside(error, contexts=False)), list(inside(error))
    for found in (caused, all_of_it):
        host = _host(found)
        for judge in (_our_own, _openssl, _system, _response, _quoted, _broke):
            for one in found:
                with contextlib.suppress(Exception):  # a stranger's attributes may do anything
                    if (explanation := judge(one, host, _trail(found, one))) is not None:
                        return explanation
    return Explanation(
        whose=Whose.UNKNOWN,
        why="this failure says nothing of certificates, names or connections",
        evidence=_trail(caused, caused[0]),
        hint="read the traceback; if a connection broke, the server's log says more",
        certain=False,
        code="unexplained",
    )


def _our_own(one: BaseException, _host: str | None, seen: str) -> Explanation | None:
    if not isinstance(one, errors.MTLSError):
        return None
    whose, code = Whose.OURS, one.code
    if isinstance(one, errors.ConfigurationError):
        whose = Whose.SETTINGS
    elif isinstance(one, errors.TrustError):
        whose = Whose.THEIRS
    elif isinstance(one, errors.IdentityRejectedError):
        code = f"rejected_{one.reason}"
        seen = f"{f'alert {one.alert}' if one.alert else 'the end of the connection'} ({seen})"
    return Explanation(
        whose=whose,
        why=str(one.args[0]).partition("\n")[0] if one.args else code,
        evidence=seen,
        hint=one.hint or "look up the code in docs/errors.md",
        certain=getattr(one, "certain", True),
        code=code,
    )


def _openssl(one: BaseException, host: str | None, seen: str) -> Explanation | None:
    # subclasses of libraries, and errors that were pickled, have nothing but words
    if isinstance(one, ssl.SSLCertVerificationError):
        known = getattr(one, "verify_code", 0)
        return _our_own(verdict(one, host), host, seen) if known else None
    if isinstance(one, ssl.SSLError) and (reason := getattr(one, "reason", None)):
        return said(reason, host, f"{reason} ({seen})")
    return None


def _response(one: BaseException, _host: str | None, _seen: str) -> Explanation | None:
    for response in (one, getattr(one, "response", None)):
        explanation = answered(response)
        if explanation is not None and explanation.code != "http_success":
            return explanation
    return None


_PROXY = {"ProxyError", "ClientHttpProxyError", "ClientProxyConnectionError"}
_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL}


def _system(one: BaseException, host: str | None, seen: str) -> Explanation | None:
    where = host or "the server"
    if type(one).__name__ in _PROXY or _text(one).startswith("Tunnel connection failed"):
        return _network(
            "the proxy could not be reached, or does not let us through",
            "look at HTTPS_PROXY, NO_PROXY and the proxy's name and password; 407 means that it "
            "wants those",
            seen,
            code="proxy",
        )
    if isinstance(one, socket.gaierror):
        hint = f"check the name in the URL: getent hosts {host or 'HOST'}"
        return _network(f"the name of {where} cannot be resolved", hint, seen, code="name")
    if isinstance(one, ConnectionRefusedError):
        hint = "check host and port, and that the server runs"
        return _network(f"nobody listens there: {where} refused the connection", hint, seen)
    if isinstance(one, OSError) and one.errno in _UNREACHABLE:
        hint = "check routes, VPN and firewall"
        return _network(f"{where} cannot be reached from this machine", hint, seen)
    if isinstance(one, (FileNotFoundError, PermissionError)):
        gone = isinstance(one, FileNotFoundError)
        return Explanation(
            whose=Whose.SETTINGS,
            why="a file does not exist"
            if gone
            else "a file or socket may not be used by this user",
            evidence=seen,
            hint="check the paths of certificate, key and CA, and what the process may read",
            certain=True,
            code="file_not_found" if gone else "permission",
        )
    return None


def _network(why: str, hint: str, seen: str, *, code: str = "connect") -> Explanation:
    return Explanation(
        whose=Whose.NETWORK, why=why, evidence=seen, hint=hint, certain=True, code=code
    )


_REASON = re.compile(r"\[(?:SSL|X509|PEM)[^\]]{0,40}?: ([A-Z0-9_]{3,80})\]")


def _quoted(one: BaseException, host: str | None, seen: str) -> Explanation | None:
    """Explain what is left of OpenSSL's error where a library or pickle kept its text only."""
    text = _text(one)
    if (number := verification(text)) is not None:
        error = ssl.SSLCertVerificationError()
        error.verify_code, error.verify_message = number
        return _our_own(verdict(error, host), host, seen)
    if (reason := _REASON.search(text)) is not None:
        return said(reason.group(1), host, f"{reason.group(1)} ({seen})")
    if "PEM lib" in text:
        return said("PEM_LIB", host, seen)
    return None


# what else ends a connection, by the names that libraries have for it
_ENDED = re.compile(
    r"Disconnected|IncompleteRead|BrokenResource|ClosedResource|EndOfStream|BadStatusLine"
    r"|^(?:Read|Write|Close|RemoteProtocol|Protocol|ClientOS|ClientPayload)Error$"
)


def _broke(one: BaseException, host: str | None, seen: str) -> Explanation | None:
    where, name = host or "the server", type(one).__name__
    if isinstance(one, TimeoutError) or "Timeout" in name or name == "TooSlowError":
        return Explanation(
            whose=Whose.NETWORK,
            why=f"{where} did not answer in time",
            evidence=seen,
            hint="check host, port and firewall; with HTTP/2 and a large body, try HTTP/1.1: nginx "
            "may have refused the certificate by a page that httpx did not get to read",
            certain=True,
            code="timeout",
        )
    if isinstance(one, (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)) or (
        _ENDED.search(name)
    ):
        return Explanation(
            whose=Whose.UNKNOWN,
            why=f"{where} ended the connection without saying why; a server may do so when it "
            "refuses a client certificate or misses one, but so does one that is overloaded, or "
            "a firewall",
            evidence=seen,
            hint="see whether it asks for a certificate: openssl s_client -connect HOST:PORT; "
            "call it through a session of mtls-client, which asks again and tells; "
            "then ask the server's owner what its log says",
            certain=False,
            code="ended",
        )
    return None


def _trail(found: Sequence[BaseException], one: BaseException) -> str:
    """Return the types that lead from what was given to what was judged."""
    names = [f"{type(each).__module__}.{type(each).__qualname__}" for each in (one, found[0])]
    names = [name.removeprefix("builtins.") for name in names]
    return names[0] if names[0] == names[1] else f"{names[0]} in {names[1]}"


def _text(one: BaseException) -> str:
    with contextlib.suppress(Exception):
        return str(one)[:2000]
    return ""


def _host(found: Sequence[BaseException]) -> str | None:
    """Return the name of the server that a library's error tells of."""
    ways: tuple[Callable[[Any], object], ...] = (
        lambda error: error.host,
        lambda error: error.pool.host,
        lambda error: urlsplit(str(error.request.url)).hostname,
    )
    for one in found:
        for way in ways:
            with contextlib.suppress(Exception):
                host = way(one)
                if isinstance(host, str) and re.fullmatch(r"[\w.:-]{1,253}", host):
                    return host
    return None
