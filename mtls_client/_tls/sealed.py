"""What other libraries see of a context, and cannot change.

What would weaken the trust is refused with an error that says what to write instead, or, where
libraries do it as a habit, ignored (`load_verify_locations`, `load_default_certs`).
"""

from __future__ import annotations

import logging
import ssl
from typing import Any, NoReturn

from mtls_client.errors import ConfigurationError

__all__ = ["SealedContext"]

_log = logging.getLogger("mtls_client")


class SealedContext(ssl.SSLContext):
    """A context that is a front for others: reading goes to one of them, writing is refused."""

    def _any(self) -> ssl.SSLContext:
        """Return a context whose settings are those of all."""
        raise NotImplementedError

    def load_verify_locations(
        self, cafile: Any = None, capath: Any = None, cadata: Any = None
    ) -> None:
        """Do nothing: HTTP libraries pour CA bundles into every context, and trust is fixed."""
        del cafile, capath, cadata
        _log.debug("load_verify_locations ignored: the roots are those of %r", self)

    def load_default_certs(self, purpose: ssl.Purpose = ssl.Purpose.SERVER_AUTH) -> None:
        """Do nothing: HTTP libraries pour CA bundles into every context, and trust is fixed."""
        del purpose
        _log.debug("load_default_certs ignored: the roots are those of %r", self)

    def set_default_verify_paths(self) -> None:
        """Do nothing: HTTP libraries pour CA bundles into every context, and trust is fixed."""
        _log.debug("set_default_verify_paths ignored: the roots are those of %r", self)

    def cert_store_stats(self) -> dict[str, int]:
        """Count the roots, see `ssl.SSLContext.cert_store_stats`."""
        return self._any().cert_store_stats()

    def get_ca_certs(self, binary_form: bool = False) -> Any:
        """List the roots, see `ssl.SSLContext.get_ca_certs`."""
        return self._any().get_ca_certs(binary_form)

    def get_ciphers(self) -> Any:
        """List the cipher suites, see `ssl.SSLContext.get_ciphers`."""
        return self._any().get_ciphers()


def _fixed(name: str, instead: str) -> property:
    """Return a property that reads the inner context's and cannot be changed."""

    def read(self: SealedContext) -> Any:
        return getattr(self._any(), name)

    def write(self: SealedContext, value: Any) -> None:
        # libraries write back what they read; only a change is refused
        if value != read(self):
            raise ConfigurationError(
                f"{name} of an MTLSContext cannot be changed", hint=instead, code="context_fixed"
            )

    return property(read, write, doc=f"The `{name}` of the inner contexts; cannot be changed.")


def _refused(name: str, instead: str) -> Any:
    def refuse(_self: SealedContext, *_args: Any, **_options: Any) -> NoReturn:
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
    setattr(SealedContext, _name, _fixed(_name, _instead))

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
    setattr(SealedContext, _name, _refused(_name, _instead))
