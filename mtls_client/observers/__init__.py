"""What is told of events: logs, an audit log, metrics, alarms; each loaded when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mtls_client._os.lazy import lazily

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

__getattr__ = lazily(__name__, _HOME)
