"""`python -m mtls_client` is the `mtls` command."""

from __future__ import annotations

from mtls_client.cli import main

main()
