"""Renew a certificate with OpenBao or Vault: python examples/renew_with_vault.py URL ROLE CERT CA.

The token comes from BAO_TOKEN, VAULT_TOKEN or ~/.vault-token. CERT, a file with certificate and
key, is replaced; a service would give the renewer to its Credential instead and call nothing.
"""

from __future__ import annotations

import sys

import mtls_client as mtls
from mtls_client.renewers import Vault


def main(url: str, role: str, certificate: str, ca: str) -> int:
    current = mtls.FileSource(certificate).load()
    renewer = Vault(url, role=role, trust=mtls.Trust.from_file(ca))
    try:
        new = renewer.renew(current)
    except mtls.RenewalError as error:
        again = "try again later" if error.retryable else "it will not pass by itself"
        print(f"the certificate of {current.subject} stays, {again}: {error}")
        return 1
    new.save_pem(certificate, password=None)
    print(f"{new.subject} until {new.not_after:%Y-%m-%d %H:%M} UTC", *new.notes, sep="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
