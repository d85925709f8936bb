"""The section that CONTRIBUTING.md adds to the panel, in the panel."""

from types import ModuleType

from Testing.helpers.actions import run
from Testing.helpers.recipes import ROOT, recipes

RECIPE = recipes()["Add a panel section"]


def test_the_section_of_the_recipe_follows_the_panel(panel, ui, selected) -> None:
    ((path, text),) = RECIPE.files.items()
    module = ModuleType("BoxSection")
    exec(compile(text, path, "exec"), module.__dict__)  # noqa: S102 - our own page
    section = module.BoxSection(ui, panel.session)
    panel.sections = (section, *panel.sections)
    panel.refresh()
    assert section.label.text == ""
    run(panel)
    i, j, k = panel.session.parameters.segmentedBox.size
    assert section.label.text == f"Segmented in a box of {i} x {j} x {k} voxels."


def test_the_lines_of_the_recipe_have_their_place_in_the_panel() -> None:
    for path, after, _ in RECIPE.lines:
        assert (ROOT / path).read_text(encoding="utf-8").split("\n").count(after) == 1
