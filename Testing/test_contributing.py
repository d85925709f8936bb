"""CONTRIBUTING.md is followed to the letter: what it says is done in a copy of the project, and works."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from Testing.helpers.floors import ENGINE, SLICER_SIDE
from Testing.helpers.recipes import ROOT, recipes

RUN = {title: recipe for title, recipe in recipes().items() if recipe.runs}


def test_there_is_a_recipe_for_everything_that_is_often_added() -> None:
    wanted = ("a network", "a pipeline", "an export format", "a finding", "a panel section")
    assert set(recipes()) == {f"Add {thing}" for thing in wanted}


@pytest.mark.parametrize("title", ["Add a pipeline", "Add an export format"])
def test_what_has_a_register_touches_one_file(title: str) -> None:
    assert len(recipes()[title].files) == 1
    assert not recipes()[title].lines


@pytest.mark.parametrize("recipe", RUN.values(), ids=RUN)
def test_a_recipe_works(recipe, tmp_path: Path) -> None:
    shutil.copytree(
        ROOT / "PancreasSeg",
        tmp_path / "PancreasSeg",
        ignore=shutil.ignore_patterns("__pycache__", "Resources"),
    )
    recipe.follow(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(recipe.runs)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "PancreasSeg"), str(ROOT)])},
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_picture_of_the_rooms_shows_all_of_them() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    picture = page.partition("## Rooms")[2].partition("## ")[0]
    for floor in (*ENGINE, *SLICER_SIDE):
        for room in floor:
            assert room in picture, f"ARCHITECTURE.md does not show {room}"
