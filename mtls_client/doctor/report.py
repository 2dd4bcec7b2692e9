"""What the doctor found, as values."""

from __future__ import annotations

import enum
import json
import textwrap
from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Finding", "Report", "Severity"]


class Severity(enum.StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """Calls fail, or will be refused, because of it."""
    WARNING = "warning"
    """Calls work, and something is unsafe or will break."""
    INFO = "info"
    """Worth knowing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Attributes:
        code: its stable name, see docs/doctor.md.
        severity: how bad it is.
        title: what it is, in a few words that are always the same.
        evidence: what was seen: names, dates, numbers. Never a secret.
        hint: the next thing to do, or None if there is nothing to do.
    """

    code: str
    severity: Severity
    title: str
    evidence: str
    hint: str | None = None

    def __str__(self) -> str:
        lines = [f"{self.severity.value:<8} {self.title}  [{self.code}]"]
        lines.append(textwrap.indent(self.evidence, _MARGIN))
        if self.hint:
            lines.append(f"{_MARGIN}hint: {self.hint}")
        return "\n".join(lines)


_MARGIN = 9 * " "


@dataclass(frozen=True, slots=True)
class Report:
    """All findings of one diagnosis.

    Attributes:
        findings: the worst first, and a cause before its effects.
    """

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether no finding is an error."""
        return not any(one.severity is Severity.ERROR for one in self.findings)

    @property
    def summary(self) -> str:
        """The findings, counted."""
        counts = []
        for severity, noun in ((Severity.ERROR, "error"), (Severity.WARNING, "warning")):
            number = sum(one.severity is severity for one in self.findings)
            counts += [f"{number} {noun}{'s' * (number > 1)}"] if number else []
        return ", ".join(counts) or "nothing is wrong"

    def to_dict(self) -> dict[str, Any]:
        """Return the report as what JSON can hold."""
        return {"ok": self.ok, "findings": [asdict(one) for one in self.findings]}

    def to_json(self) -> str:
        """Return the report as JSON."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    def __str__(self) -> str:
        return "\n".join([*map(str, self.findings), self.summary])
