"""What is told of events: logs, an audit log, metrics, alarms; each loaded when first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mtls_client.observers.alerts import Alarm, Alert, default_alerts
    from mtls_client.observers.audit import AuditLog
    from mtls_client.observers.logging import LogEvents
    from mtls_client.observers.opentelemetry import OpenTelemetry
    from mtls_client.observers.prometheus import Prometheus

_HOME = {
    "Alarm": "alerts",
    "Alert": "alerts",
    "AuditLog": "audit",
    "LogEvents": "logging",
    "OpenTelemetry": "opentelemetry",
    "Prometheus": "prometheus",
    "default_alerts": "alerts",
}

__all__ = [
    "Alarm",
    "Alert",
    "AuditLog",
    "LogEvents",
    "OpenTelemetry",
    "Prometheus",
    "default_alerts",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
