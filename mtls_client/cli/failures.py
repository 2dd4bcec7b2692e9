"""What went wrong, as a message and as an exit code.

The codes are curl's where they mean something; 98 always means that the server wants a client
certificate, and 58 that it, or this machine, does not accept ours.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
from collections.abc import Callable, Iterator

import click

from mtls_client import errors
from mtls_client.cli.terminal import complain

__all__ = ["Exit", "exit_code_of"]

FAILED, USAGE, MALFORMED_URL, PROXY, RESOLVE, CONNECT = 1, 2, 3, 5, 6, 7
PARTIAL, HTTP_ERROR, WRITE, READ, TIMEOUT, TLS = 18, 22, 23, 26, 28, 35
REDIRECTS, EMPTY, SEND, RECEIVE, OUR_CERTIFICATE = 47, 52, 55, 56, 58
UNTRUSTED, REWIND, CA_FILE, PIN, CERTIFICATE_WANTED = 60, 65, 77, 90, 98


class Exit(Exception):
    """Ends the command with a code and, unless it is None, a message."""

    def __init__(self, code: int, message: str | None = None, hint: str | None = None) -> None:
        super().__init__(code, message, hint)
        self.code, self.message, self.hint = code, message, hint


def exit_code_of(run: Callable[[], object]) -> int:
    """Run a command, print what goes wrong, and return the exit code."""
    try:
        run()
        sys.stdout.flush()
    except Exit as error:
        if error.message is not None:
            complain(error.message, error.hint)
        return error.code
    except click.exceptions.Exit as error:  # after --help and --version
        return error.exit_code
    except click.ClickException as error:
        complain(error.format_message().rstrip(".").lower(), "mtls --help lists the options")
        return USAGE
    except (KeyboardInterrupt, click.Abort):
        return 130
    except BrokenPipeError:
        # nobody reads any more; keep the interpreter from saying so at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return WRITE
    except errors.MTLSError as error:
        complain(str(error.args[0]), error.hint)
        return _ours(error)
    return 0


def network(error: Exception) -> Exit:
    """Return how to end on an error of httpx."""
    if isinstance(error, errors.MTLSError):
        code = _ours(error)
        hint = "give --cert FILE" if code == CERTIFICATE_WANTED else error.hint
        return Exit(code, str(error.args[0]), hint)
    code = _theirs(error)
    causes = [str(one) for one in _causes(error) if str(one)]
    return Exit(code, f"({code}) {causes[-1] if causes else type(error).__name__}".lower())


def _ours(error: errors.MTLSError) -> int:
    match error:
        case errors.IdentityRejectedError(reason=errors.RejectionReason.MISSING):
            return CERTIFICATE_WANTED
        case errors.IdentityRejectedError() | errors.IdentityError():
            return OUR_CERTIFICATE
        case errors.PinMismatchError():
            return PIN
        case errors.TrustError():
            return UNTRUSTED
        case errors.RenewalError():
            return FAILED
        case errors.ConfigurationError(code="trust_file" | "trust_format" | "crl_format"):
            return CA_FILE
    return USAGE


def _theirs(error: Exception) -> int:
    import httpx

    causes = list(_causes(error))
    if any(isinstance(one, socket.gaierror) for one in causes):
        return RESOLVE
    match error:
        case httpx.TimeoutException():
            return TIMEOUT
        case httpx.ProxyError():
            return PROXY
        case httpx.ConnectError():
            return TLS if any(isinstance(one, ssl.SSLError) for one in causes) else CONNECT
        case httpx.RemoteProtocolError() if "without sending a response" in str(error):
            return EMPTY
        case httpx.RemoteProtocolError() if "complete message body" in str(error):
            return PARTIAL
        case httpx.WriteError():
            return SEND
        case httpx.TooManyRedirects():
            return REDIRECTS
        case httpx.InvalidURL() | httpx.UnsupportedProtocol():
            return MALFORMED_URL
    return RECEIVE


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
