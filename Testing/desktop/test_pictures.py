"""The documents and the pictures they show."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "Resources" / "Screenshots"
LARGEST = 400_000
LARGEST_TOTAL = 3_500_000


@pytest.mark.parametrize("document", ["README.md", "Resources/Tutorial.md"])
def test_every_picture_and_file_that_a_document_refers_to_is_there(document: str) -> None:
    path = ROOT / document
    links = re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_every_section_that_the_tutorial_refers_to_is_there() -> None:
    text = (ROOT / "Resources" / "Tutorial.md").read_text(encoding="utf-8")
    titles = re.findall(r"^## (.+)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= anchors


def test_pictures_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in PICTURES.glob("*.png")}
    assert {name for name, size in sizes.items() if size > LARGEST} == set()
    assert sum(sizes.values()) < LARGEST_TOTAL
