"""The doctor: all that is wrong with an identity, or with calling a server, at once.

diagnosis   runs the checks in turn: `diagnose`
report      what was found, as values
catalogue   every finding there is, causes before effects
loading     our identity as it is loaded, and its files
ours        our certificate and its chain
route       the way to the server: name, address, proxy
server      the server's TLS, certificates and name
presenting  what the server does with our certificate
ending      the findings of that
messages    Certificate and CertificateRequest, read from their bytes
recorder    what was said in a handshake
folder      what is in a folder: `inventory`
bounds      ends for what could go on for ever
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mtls_client._os.lazy import lazily

if TYPE_CHECKING:
    from mtls_client.doctor.diagnosis import diagnose
    from mtls_client.doctor.folder import Inventory, inventory
    from mtls_client.doctor.report import Finding, Report, Severity

_HOME = {
    "Finding": "report",
    "Inventory": "folder",
    "Report": "report",
    "Severity": "report",
    "diagnose": "diagnosis",
    "inventory": "folder",
}

__all__ = ["Finding", "Inventory", "Report", "Severity", "diagnose", "inventory"]

__getattr__ = lazily(__name__, _HOME)
