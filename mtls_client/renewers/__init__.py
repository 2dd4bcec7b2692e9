"""What has new identities issued: a function, a program, an issuer; each loaded when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mtls_client._os.lazy import lazily

if TYPE_CHECKING:
    from mtls_client.renewers._acme_account import EAB
    from mtls_client.renewers._vault_auth import AppRole, CertAuth
    from mtls_client.renewers.acme import ACME
    from mtls_client.renewers.base import RenewalWindow, Renewer
    from mtls_client.renewers.command import Command
    from mtls_client.renewers.csr import Request
    from mtls_client.renewers.est import EST
    from mtls_client.renewers.function import Function
    from mtls_client.renewers.policy import RenewalPolicy
    from mtls_client.renewers.solvers import DNS, Challenge, Solver, Standalone, Webroot
    from mtls_client.renewers.step_ca import StepCA
    from mtls_client.renewers.vault import Vault

_HOME = {
    "ACME": "acme",
    "AppRole": "_vault_auth",
    "CertAuth": "_vault_auth",
    "Challenge": "solvers",
    "Command": "command",
    "DNS": "solvers",
    "EAB": "_acme_account",
    "EST": "est",
    "Function": "function",
    "RenewalPolicy": "policy",
    "RenewalWindow": "base",
    "Renewer": "base",
    "Request": "csr",
    "Solver": "solvers",
    "Standalone": "solvers",
    "StepCA": "step_ca",
    "Vault": "vault",
    "Webroot": "solvers",
}

__all__ = [
    "ACME",
    "DNS",
    "EAB",
    "EST",
    "AppRole",
    "CertAuth",
    "Challenge",
    "Command",
    "Function",
    "RenewalPolicy",
    "RenewalWindow",
    "Renewer",
    "Request",
    "Solver",
    "Standalone",
    "StepCA",
    "Vault",
    "Webroot",
]

__getattr__ = lazily(__name__, _HOME)
