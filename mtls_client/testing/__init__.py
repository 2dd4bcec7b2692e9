"""A throwaway CA and an mTLS server on loopback, for tests and demonstrations.

with Server(ca.issue("localhost", dns=["localhost"], server=True), client_ca=ca) as server:
    Session(ca.issue("client"), trust=Trust.from_pem(ca.pem)).get(server.url)
"""

from __future__ import annotations

from mtls_client.testing.ca import CA
from mtls_client.testing.server import Answer, Call, Server

__all__ = ["CA", "Answer", "Call", "Server"]
