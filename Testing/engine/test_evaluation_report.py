"""The report of an evaluation on a cohort: tables, plots, worst cases, and continuing what was stopped."""

import pytest
from Testing.helpers.bright_model import write_bright_model
from Testing.helpers.easy_cohort import easy_cohort

from pancreasseg.core.setup import Setup
from pancreasseg.lab.cohorts import Cohort
from pancreasseg.lab.evaluation.comparison import describe, evaluate, write_report
from pancreasseg.models.store import Store
from pancreasseg.pipelines import create
from pancreasseg.pipelines.base import Pipeline


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    home = tmp_path_factory.mktemp("home")
    write_bright_model(home)
    return create(Setup(model="bright", device="cpu", precision="f32"), Store(home))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    return easy_cohort(tmp_path_factory.mktemp("easy"), count=3)


def test_a_report_has_tables_plots_and_the_worst_cases(bright, cohort, tmp_path):
    output = tmp_path / "out"
    scores = evaluate(bright, cohort, cohort.cases, output, method="bright")
    assert [score.case for score in scores] == [case.id for case in cohort.cases]
    assert {score.fold for score in scores} == {1, 2}
    again = evaluate(bright, cohort, cohort.cases, output, method="bright")
    assert [round(s.seconds, 3) for s in again] == [round(s.seconds, 3) for s in scores]  # read, not run anew
    path = write_report(output, cohort, {"bright": scores, "copy": scores}, {}, title="Bright", command="make it so")
    text = path.read_text()
    assert "make it so" in text
    assert "### bright: DSC per fold" in text
    assert "### bright: Boxes per fold" in text
    assert "### Paired tests" in text
    for name in ("dsc-per-fold.png", "dsc-against-volume.png", "table-methods.csv", "table-bright-folds.csv"):
        assert (output / name).stat().st_size > 50
    assert len(list(output.glob("worst-bright-*.png"))) == 3


def test_an_evaluation_with_other_weights_begins_anew(bright, cohort, tmp_path):
    scores = evaluate(bright, cohort, cohort.cases[:1], tmp_path / "out", method="bright")
    (tmp_path / "out" / "bright.weights").write_text("other")
    again = evaluate(bright, cohort, cohort.cases[:1], tmp_path / "out", method="bright")
    assert again[0].dsc == scores[0].dsc
    assert again[0].seconds != scores[0].seconds


def test_a_cohort_of_phantoms_is_called_what_it_is(cohort):
    assert describe(cohort) == "3 cases, own cases"
    readme = cohort.source / "README.txt"
    readme.write_text("This is a made-up cohort: ...")
    assert "PHANTOMS, no patient's data" in describe(cohort)
    readme.unlink()
