"""Call, and keep an audit log of it: python examples/audited_calls.py URL CERT CA LOG."""

from __future__ import annotations

import logging
import sys

import mtls_client as mtls
from mtls_client.observers import Alarm, AuditLog, LogEvents, default_alerts


def page(alarm: Alarm) -> None:
    print(f"wake somebody up: {type(alarm.event).__name__} at {alarm.subject}")


def main(url: str, certificate: str, ca: str, log: str) -> int:
    logging.basicConfig(level=logging.DEBUG, format="%(levelname)s %(message)s", stream=sys.stdout)
    observers = [AuditLog(log), LogEvents(), *default_alerts(page)]
    trust = mtls.Trust.from_file(ca)
    with (
        mtls.Credential(mtls.FileSource(certificate), observers=observers) as credential,
        mtls.Session(credential, trust=trust, observers=observers) as session,
    ):
        print(session.get(url).status_code)
    print(f"now check it: mtls audit verify {log}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
