"""What has new identities issued: a function, a program, an issuer; each loaded when first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mtls_client.renewers._vault_auth import AppRole, CertAuth
    from mtls_client.renewers.base import RenewalWindow, Renewer
    from mtls_client.renewers.command import Command
    from mtls_client.renewers.csr import Request
    from mtls_client.renewers.est import EST
    from mtls_client.renewers.function import Function
    from mtls_client.renewers.policy import RenewalPolicy
    from mtls_client.renewers.step_ca import StepCA
    from mtls_client.renewers.vault import Vault

_HOME = {
    "AppRole": "_vault_auth",
    "CertAuth": "_vault_auth",
    "Command": "command",
    "EST": "est",
    "Function": "function",
    "RenewalPolicy": "policy",
    "RenewalWindow": "base",
    "Renewer": "base",
    "Request": "csr",
    "StepCA": "step_ca",
    "Vault": "vault",
}

__all__ = [
    "EST",
    "AppRole",
    "CertAuth",
    "Command",
    "Function",
    "RenewalPolicy",
    "RenewalWindow",
    "Renewer",
    "Request",
    "StepCA",
    "Vault",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
