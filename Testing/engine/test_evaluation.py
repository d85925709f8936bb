"""Scores, tables and reports of an evaluation."""

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from Testing.helpers.bright_model import a_patient, write_bright_model

from pancreasseg.core import Box, Volume
from pancreasseg.core.errors import InputError
from pancreasseg.core.setup import Setup
from pancreasseg.lab.evaluation import Score, read_scores, score_case, write_scores
from pancreasseg.lab.evaluation.published import Published
from pancreasseg.lab.evaluation.tables import boxes_table, folds_table, methods_table, paired_table
from pancreasseg.measure import boxes
from pancreasseg.models.store import Store
from pancreasseg.pipelines import create
from pancreasseg.pipelines.base import Pipeline

SCORE = Score("ours", "a", 1, 0.8, 0.9, 0.7, 0.6, 12.0, 5.0, 1.5, 0.97, 0.8, 0.99, 0.7, 60.0, 55.0, 2.0)


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    home = tmp_path_factory.mktemp("home")
    write_bright_model(home)
    return create(Setup(model="bright", device="cpu", precision="f32"), Store(home))


def test_a_case_is_measured_with_its_boxes_and_its_coarse_mask(bright):
    volume, truth = a_patient()
    score, mask = score_case(bright, volume, truth, method="bright", case="a", fold=2)
    region = bright.localize(volume)
    true_box = Box.of_mask(truth)
    assert score.dsc == pytest.approx(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))
    assert score.dsc > 0.9
    assert 0.4 < score.coarse_dsc < score.dsc
    assert (score.box1_recall, score.box2_recall) == tuple(boxes.recall(b, true_box) for b in region.candidates)
    assert score.box2_iou == boxes.iou(region.candidates[1], true_box)
    assert score.true_ml == pytest.approx(truth.sum() * 2 * 2 * 4 / 1000)
    assert (score.method, score.case, score.fold) == ("bright", "a", 2)


def test_a_missed_pancreas_has_a_defined_score(bright):
    volume, truth = a_patient()
    dull = Volume(np.full_like(volume.array, -1000), volume.geometry)
    score, _ = score_case(bright, dull, truth, method="bright", case="a", fold=1)
    assert (score.dsc, score.coarse_dsc, score.hd, score.box1_recall) == (0, 0, math.inf, None)


def test_a_pipeline_without_a_localizer_has_neither_boxes_nor_a_coarse_mask(tmp_path):
    write_bright_model(tmp_path)
    volume, truth = a_patient()
    pipeline = create(Setup("single-stage", model="bright", device="cpu", precision="f32"), Store(tmp_path))
    score, _ = score_case(pipeline, volume, truth, method="bright", case="a", fold=1)
    assert score.dsc > 0.9
    assert score.coarse_dsc is score.box1_recall is score.box2_iou is None


def test_scores_come_back_from_their_file(tmp_path):
    scores = [SCORE, replace(SCORE, case="b", coarse_dsc=None, box1_recall=None, hd=math.inf)]
    write_scores(tmp_path / "scores.csv", scores)
    assert read_scores(tmp_path / "scores.csv") == scores
    (tmp_path / "other.csv").write_text("x,y\n1,2\n")
    for name in ("other.csv", "none.csv"):
        with pytest.raises(InputError, match="no table of scores"):
            read_scores(tmp_path / name)


def two_folds() -> list[Score]:
    dscs = [(1, 0.8), (1, 0.9), (2, 0.7), (2, 0.5)]
    return [replace(SCORE, case=str(n), fold=fold, dsc=dsc) for n, (fold, dsc) in enumerate(dscs)]


def test_the_table_of_folds_has_mean_sd_max_and_min():
    table = folds_table(two_folds())
    assert [row[0] for row in table.rows] == ["1", "2", "all"]
    assert table.rows[0][5:] == ("85.00 ± 7.07", "90.00", "80.00")
    sd = 100 * np.std([0.8, 0.9, 0.7, 0.5], ddof=1)
    assert table.rows[2][5:] == (f"72.50 ± {sd:.2f}", "90.00", "50.00")
    assert table.rows[2][2] == "60.00 ± 0.00"
    text = table.markdown()
    assert "| 1 | 2 | 60.00 ± 0.00 |" in text
    assert list(csv.reader(table.csv().splitlines()))[1][:2] == ["1", "2"]


def test_the_table_of_boxes_is_empty_where_a_pipeline_has_none():
    assert boxes_table([SCORE]).rows[0][1] == "97.00"
    bare = replace(SCORE, box1_recall=None, box1_iou=None, box2_recall=None, box2_iou=None)
    assert set(boxes_table([bare]).rows[0][1:]) == {"-"}


def test_published_rows_stand_below_ours_and_missed_cases_are_counted():
    missed = [*two_folds(), replace(SCORE, case="x", hd=math.inf)]
    table = methods_table({"zhao2019": missed}, {"zhao2019": Published("", {"DSC %": "85.99 ± 4.51"})})
    assert table.rows[1][:3] == ("zhao2019, published", "-", "85.99 ± 4.51")
    assert table.rows[0][7] == "∞ (1 missed; 12.00 without them)"


def test_the_paired_test_is_wilcoxons_on_the_shared_cases():
    random = np.random.default_rng(0)
    one = [replace(SCORE, case=str(n), dsc=float(v)) for n, v in enumerate(random.uniform(0.6, 0.9, 12))]
    other = [replace(s, dsc=s.dsc - float(random.uniform(-0.02, 0.1))) for s in one[:-2]]
    table = paired_table({"a": one, "b": other})
    name, cases, _, p = table.rows[0]
    assert (name, cases) == ("a - b", "10")
    expected = stats.wilcoxon([s.dsc for s in one[:10]], [s.dsc for s in other]).pvalue
    assert p == f"{expected:.2g}"
    assert paired_table({"a": one, "b": other[:5]}).rows[0][3] == "-"
    assert paired_table({"a": one, "b": one}).rows[0][2:] == ("+0.00", "-")
