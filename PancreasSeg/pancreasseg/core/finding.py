"""One quality remark about a volume or a result."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum


class Severity(str, Enum):
    """How much a person should care."""

    INFO = "info"
    WARNING = "warning"
    SERIOUS = "serious"


@dataclass(frozen=True)
class Finding:
    """One remark: what was seen, what to do, and the number behind it.

    Attributes:
        code: stable identifier, e.g. ``"touches-roi-face"``.
        severity: info, warning or serious.
        sentence: one plain sentence for the radiologist, with what to do where something can be done.
        number: the measured value behind it, if there is one.
    """

    code: str
    severity: Severity
    sentence: str
    number: float | None = None

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {**asdict(self), "severity": self.severity.value}
