"""The page of a cohort: one file, whatever its texts hold; seen in Chromium where that is installed."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from datetime import datetime, timezone
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from pancreasseg.batch.page import write_page
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.report.cohort.charts import agreement, bland_altman, overlap_boxes, volume_histogram
from pancreasseg.report.cohort.content import CohortCase, count_remarks, worst_first
from pancreasseg.report.cohort.page import page_of

NASTY = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}</style></title>&amp;\u202e"
MADE = datetime(2026, 1, 2, 3, 4, tzinfo=timezone.utc)


def a_finding(code: str, severity: Severity = Severity.WARNING) -> Finding:
    return Finding(code, severity, f"A sentence about {code}.", 1.0)


def a_cohort() -> list[CohortCase]:
    rng = np.random.default_rng(0)
    cases = [CohortCase(NASTY, failed=True, message=f"Damaged. {NASTY}")]
    for number in range(12):
        dsc = float(rng.uniform(0.6, 0.95))
        numbers = {
            "volume": float(rng.normal(72, 20)), "volume_difference": float(rng.normal(2, 5)), "hu_mean": 90.0,
            "dsc": dsc, "precision": dsc, "recall": dsc, "hd95": float("inf") if number == 3 else 4.0,
        }  # fmt: skip
        findings = (a_finding("small", Severity.SERIOUS), a_finding("slice-gap")) if number == 5 else ()
        place = f"./case%20{number}/"
        case = CohortCase(
            f"case {number}", findings=findings, numbers=numbers, seconds=2.0, made_by="PancreasSeg 1", folder=place,
            picture=f"{place}report.png",
        )  # fmt: skip
        cases.append(case)
    return cases


class Elements(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_failed_cases_come_first_then_serious_findings_then_little_overlap() -> None:
    cases = [
        CohortCase("good", numbers={"dsc": 0.9}), CohortCase("poor", numbers={"dsc": 0.5}),
        CohortCase("unsure", numbers={"expected_overlap": 0.6}), CohortCase("warned", findings=(a_finding("w"),)),
        CohortCase("serious", findings=(a_finding("s", Severity.SERIOUS),)), CohortCase("broken", failed=True),
    ]  # fmt: skip
    assert [case.name for case in worst_first(cases)] == ["broken", "serious", "warned", "poor", "unsure", "good"]


def test_findings_are_counted_by_cases_and_remarks_for_information_are_not() -> None:
    twice = (a_finding("a"), a_finding("a"), a_finding("i", Severity.INFO))
    remarks = count_remarks([CohortCase("1", findings=twice), CohortCase("2", findings=(a_finding("a"),))])
    assert [(remark.code, remark.cases) for remark in remarks] == [("a", 2)]


def test_bias_and_limits_of_agreement_are_those_of_bland_and_altman() -> None:
    bias, spread = agreement([1.0, 3.0])
    assert bias == 2.0
    assert spread == pytest.approx(1.96 * np.sqrt(2))
    assert agreement([1.0]) == (1.0, None)


def test_charts_can_be_drawn_of_anything_from_one_case_to_all_the_same() -> None:
    one = [CohortCase("a", numbers={"volume": 0.0, "volume_difference": 0.0, "dsc": 1.0})]
    for cases in (one, one * 3, a_cohort()):
        links = {case.name: "#x" for case in cases}
        for chart in (bland_altman(cases, links), overlap_boxes(cases, links)):
            assert "nan" not in chart
            assert "inf" not in chart
    histogram = volume_histogram([5.0, 72.0, 400.0, 1.0])
    assert histogram.count('class="bar"') == 3
    assert histogram.count('class="normal"') == 1


def test_nothing_foreign_becomes_markup_and_nothing_is_loaded_from_elsewhere() -> None:
    findings = (Finding(NASTY, Severity.SERIOUS, NASTY),)
    nasty = CohortCase(
        f"{NASTY} 2", kept=True, message=NASTY, findings=findings, numbers={"volume": 1.0, "dsc": 0.5}, made_by=NASTY,
        folder="./x/", picture="./x/report.png",
    )  # fmt: skip
    cases = [*a_cohort(), nasty]
    page = page_of(cases, NASTY, MADE)
    elements = Elements(page)
    tags = [tag for tag, _ in elements.tags]
    assert tags.count("script") == 1
    assert {tag for tag, _ in elements.tags if tag in ("link", "iframe", "object", "embed", "base", "form")} == set()
    for tag, attributes in elements.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        source = attributes.get("src")
        assert source is None or source.startswith("data:image/jpeg"), source
        address = attributes.get("href")
        assert address is None or address.startswith(("./", "#case-")), address
    assert NASTY in "".join(elements.words), "it is shown as it is"
    assert "{{" not in page.replace("{{ 7*7 }}", "")
    assert "49" not in re.findall(r"onerror=alert\(2\)&gt;(.{2})", page)
    assert not re.search(r"url\(|@import|https?://", page)


def test_a_folder_whose_name_looks_like_an_address_stays_a_folder(tmp_path: Path) -> None:
    row = {"ct": "javascript:alert(1)", "state": "done", "kept": "no", "code": "", "message": ""}
    folder = tmp_path / "javascript:alert(1)"
    folder.mkdir()
    (folder / "report.png").write_bytes(b"no picture")
    (folder / "result.json").write_text(
        '{"measurements": [], "findings": [], "timings": {}, "files": ["report.png"], '
        '"provenance": {"version": "1", "pipeline": "p", "models": []}}'
    )
    write_page(tmp_path / "report.html", [row], {row["ct"]: folder})
    addresses = [a.get("href") for tag, a in Elements((tmp_path / "report.html").read_text()).tags if tag == "a"]
    assert addresses == ["./javascript%3Aalert%281%29/report.png", "./javascript%3Aalert%281%29/"]


# In a browser

_PROBE = """
<script>
"use strict";
const told = [];
window.addEventListener("error", (event) => told.push("error: " + event.message));
window.addEventListener("securitypolicyviolation", (event) => told.push("policy: " + event.violatedDirective));
const console_error = console.error;
console.error = (...words) => { told.push("console: " + words.join(" ")); console_error(...words); };
window.addEventListener("load", () => setTimeout(() => {
  const names = () => [...document.querySelectorAll("#cases tbody tr")].filter((row) => !row.hidden)
    .map((row) => row.cells[1].dataset.value);
  const heading = (words) => [...document.querySelectorAll("th button")].find((b) => b.textContent === words);
  const orders = [names()];
  for (const words of ["DSC", "DSC", "CT", "HD95, mm"]) { heading(words).click(); orders.push(names()); }
  document.querySelector("[data-filter=small]").click();
  orders.push(names());
  document.querySelector("#cases tbody tr:not([hidden]) a.open").click();
  const viewer = document.getElementById("viewer").open;
  const answer = JSON.stringify({ orders, viewer, told });
  document.body.replaceChildren(Object.assign(document.createElement("pre"), { id: "answer", textContent: answer }));
}, 200));
</script>
"""


def _chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("Chromium is not installed")
    return found


def test_in_a_browser_the_table_sorts_and_filters_and_the_console_stays_empty(tmp_path: Path) -> None:
    cases = a_cohort()
    page = page_of(cases, "A cohort", MADE)
    # The probe is the one script more that is let in, for this test alone.
    opened = page.replace("script-src ", "script-src 'unsafe-inline' ", 1)
    opened = re.sub(r" 'sha256-[^']+'", "", opened, count=1).replace("<head>", "<head>" + _PROBE, 1)
    (tmp_path / "report.html").write_text(opened, encoding="utf-8")
    dumped = subprocess.run(
        [
            _chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=4000", "--dump-dom",
            (tmp_path / "report.html").as_uri(),
        ],
        capture_output=True, text=True, check=True, timeout=120,
    ).stdout  # fmt: skip
    answer = json.loads(html.unescape(re.search(r'<pre id="answer">(.*?)</pre>', dumped, re.DOTALL)[1]))
    first, down, up, by_name, by_distance, filtered = answer["orders"]
    assert answer["told"] == []
    assert answer["viewer"]
    assert first == [case.name for case in worst_first(cases)]
    scored = sorted((case for case in cases if not case.failed), key=lambda case: case.numbers["dsc"])
    assert down[:-1] == [case.name for case in reversed(scored)]
    assert up == [*(case.name for case in scored), NASTY], "what has no value stays below"
    assert [name for name in by_name if name != NASTY] == [f"case {n}" for n in range(12)]
    assert by_distance[0] == "case 3"
    assert filtered == ["case 5"]
