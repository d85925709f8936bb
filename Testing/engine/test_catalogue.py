"""The catalogue is what its schema says, and the page about public models speaks of all of it."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pancreasseg.models import card, catalogue, network_card
from pancreasseg.models.nnunet import published

ROOT = Path(__file__).resolve().parents[2]
MODELS = Path(catalogue.__file__).parent
SCHEMA = json.loads((MODELS / "catalogue.schema.json").read_text(encoding="utf-8"))
FILES = {"catalogue": MODELS / "catalogue.json", "results": Path(published.__file__).with_name("published.json")}


def validator(kind: str) -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    return jsonschema.Draft202012Validator({**SCHEMA, "$ref": f"#/$defs/{kind}"})


def content(kind: str) -> Any:
    return json.loads(FILES[kind].read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", FILES)
def test_what_is_shipped_follows_the_schema(kind):
    wrong = [f"{error.json_path}: {error.message}" for error in validator(kind).iter_errors(content(kind))]
    assert wrong == []


def test_the_schema_and_the_cards_know_the_same_roles_and_phases():
    assert SCHEMA["$defs"]["role"]["enum"] == list(network_card.ROLES)
    assert SCHEMA["$defs"]["phase"]["enum"] == list(card.PHASES)
    assert SCHEMA["$defs"]["model"]["properties"]["standing"]["enum"] == list(catalogue.STANDINGS)


@pytest.mark.parametrize(
    ("kind", "way", "value"),
    [
        ("catalogue", ("files", "obeliskhybrid_tcia_fold1.pth", "url"), "http://example.org/a.pth"),
        ("catalogue", ("files", "obeliskhybrid_tcia_fold1.pth", "sha256"), ""),
        ("catalogue", ("files", "obeliskhybrid_tcia_fold1.pth", "size"), 0),
        ("catalogue", ("models", 0, "figures", 0, "note"), ""),
        ("catalogue", ("cards", "obelisk-hybrid", "licence"), ""),
        ("catalogue", ("cards", "obelisk-hybrid", "contrast_phase"), "late"),
        ("results", ("models", "Dataset297_TotalSegmentator_total_3mm", "role"), "finder"),
        ("results", ("archives", "Dataset297_TotalSegmentator_total_3mm", "sha256"), "abc"),
        ("results", ("archives", "Dataset297_TotalSegmentator_total_3mm", "source"), ""),
        ("results", ("shared", "training", "data"), 3),
        ("results", ("shared", "unheard of"), True),
    ],
)
def test_the_schema_refuses_what_nobody_could_install_or_judge(kind, way, value):
    data = copy.deepcopy(content(kind))
    place = data
    for step in way[:-1]:
        place = place[step]
    place[way[-1]] = value
    assert not validator(kind).is_valid(data)


def test_every_entry_states_all_that_a_person_is_told_before_a_download():
    for entry in catalogue.offered().values():
        stated = entry.card
        assert stated.get("role") or stated["networks"][0]["role"]
        for key in ("title", "description", "licence", "contrast_phase", "not_for", "training", "citation"):
            assert stated[key], (entry.name, key)
        assert entry.hosts
        assert entry.download_bytes > 0, "how large it is"


def test_the_page_about_public_models_names_every_entry_and_its_source():
    page = (ROOT / "Resources" / "public-models.md").read_text(encoding="utf-8")
    for entry in catalogue.offered().values():
        assert f"`{entry.name}`" in page, entry.name
        assert all(host in page for host in entry.hosts)
    assert "Resources/public-models.md" in (ROOT / "README.md").read_text(encoding="utf-8")
