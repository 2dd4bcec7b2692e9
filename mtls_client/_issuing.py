"""What a renewer answers, judged before anything relies on it."""

from __future__ import annotations

from mtls_client.errors import MTLSError, RenewalError, RenewalRefusedError
from mtls_client.identity import Identity
from mtls_client.renewers.base import Renewer
from mtls_client.renewers.function import Function

__all__ = ["issued", "name_of"]


def issued(renewer: Renewer, current: Identity) -> Identity:
    """Return what a renewer returns, if it can stand in the place of the current identity.

    Raises:
        RenewalError: it cannot, or there is nothing.
    """
    try:
        new = renewer.renew(current)
        if isinstance(new, Identity):
            new.require_usable()
    except RenewalError:
        raise
    except MTLSError as error:
        raise RenewalError(
            f"{name_of(renewer)}: {error.args[0]}", hint=error.hint, code=error.code
        ) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # sys.exit() as well
        # its text may hold anything
        raise RenewalError(
            f"{name_of(renewer)} raised {type(error).__name__}",
            hint="it is the cause of this error, with its traceback",
            code="renewer_failed",
        ) from error
    if not isinstance(new, Identity):
        raise RenewalRefusedError(
            f"{name_of(renewer)} returned no Identity but {type(new).__name__}",
            hint="return Request.renewing(current).joined(answer), or Identity.from_pem(…)",
            code="renewer_type",
        )
    if new.fingerprint == current.fingerprint:
        raise RenewalError(
            f"{name_of(renewer)} returned the present identity again",
            hint="look why it issues nothing: some tools do so only shortly before the end",
            code="renewal_same",
        )
    return new


def name_of(renewer: Renewer) -> str:
    """Return what a renewer is called in events and errors."""
    return repr(renewer) if isinstance(renewer, Function) else type(renewer).__name__
