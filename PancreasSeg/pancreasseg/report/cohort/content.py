"""What the page of a cohort shows of each case, and which case needs a person most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pancreasseg.core.finding import Finding, Severity

#: Shares between 0 and 1 that tell how well a result overlaps with its reference, and their titles.
OVERLAPS = {"dsc": "DSC", "precision": "Prec.", "recall": "Recall", "nsd_1mm": "NSD 1", "nsd_2mm": "NSD 2"}


@dataclass(frozen=True)
class CohortCase:
    """One case. Every text may come from anywhere; the page escapes it.

    Attributes:
        name: of the case.
        failed: there is no result.
        kept: the result is of an earlier run.
        message: what is wrong, with the case or its exports.
        findings: of the result.
        numbers: its measurements by name, without those that have no value.
        seconds: that the run took; None where unknown.
        folder: address of its results, relative to the page.
        picture: address of the report picture, relative to the page; empty where there is none.
        thumbnail: small picture as data URL; empty where there is none.
        made_by: version, pipeline and models, as one line.
    """

    name: str
    failed: bool = False
    kept: bool = False
    message: str = ""
    findings: tuple[Finding, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None
    folder: str = ""
    picture: str = ""
    thumbnail: str = ""
    made_by: str = ""

    @property
    def volume_ml(self) -> float | None:
        """Of the pancreas."""
        return self.numbers.get("volume")

    @property
    def reference_ml(self) -> float | None:
        """Of the reference, where there is one."""
        volume, difference = self.volume_ml, self.numbers.get("volume_difference")
        return None if volume is None or difference is None else volume - difference

    @property
    def remarks(self) -> tuple[Finding, ...]:
        """The findings that want a person's look, the serious ones first."""
        wanted = [finding for finding in self.findings if finding.severity is not Severity.INFO]
        return tuple(sorted(wanted, key=lambda finding: finding.severity is not Severity.SERIOUS))

    def count(self, severity: Severity) -> int:
        """How many findings of a severity it has."""
        return sum(finding.severity is severity for finding in self.findings)

    @property
    def badness(self) -> tuple[float, ...]:
        """For sorting, the largest first: failed, serious findings, warnings, little overlap (measured or expected)."""
        overlap = self.numbers.get("dsc", self.numbers.get("expected_overlap", 1.0))
        return float(self.failed), self.count(Severity.SERIOUS), self.count(Severity.WARNING), 1 - overlap


@dataclass(frozen=True)
class Remark:
    """A finding over the whole cohort: how many cases have it, and the sentence of one of them."""

    code: str
    severity: str
    cases: int
    example: str


def worst_first(cases: Iterable[CohortCase]) -> list[CohortCase]:
    """The cases by how much they need a person, then by name."""
    return sorted(cases, key=lambda case: (tuple(-part for part in case.badness), case.name))


def count_remarks(cases: Sequence[CohortCase]) -> list[Remark]:
    """Findings by code, the serious ones first, then the frequent."""
    counted: Counter[str] = Counter()
    example: dict[str, Finding] = {}
    for case in cases:
        for code, finding in {finding.code: finding for finding in case.remarks}.items():
            counted[code] += 1
            known = example.setdefault(code, finding)
            if finding.severity is Severity.SERIOUS and known.severity is not Severity.SERIOUS:
                example[code] = finding
    found = [Remark(code, example[code].severity.value, n, example[code].sentence) for code, n in counted.items()]
    return sorted(found, key=lambda remark: (remark.severity != Severity.SERIOUS.value, -remark.cases, remark.code))
