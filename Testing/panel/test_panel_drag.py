"""The box is dragged by its handles in rendered views: the ROI follows, the panel notices, one click runs again."""

import json
import os
import subprocess
import sys

import pytest
from Testing.helpers.dragging import DRAGS, DRAWN, PULL_MM
from Testing.helpers.panel import ROOT


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> dict:
    """What was to be seen in each view; one process drags in all of them."""
    folder = tmp_path_factory.mktemp("drag")
    environment = {**os.environ, "PANCREASSEG_HOME": str(folder / "home"), "QT_QPA_PLATFORM": "offscreen"}
    command = [sys.executable, "-m", "Testing.helpers.dragging", str(folder / "record.json")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != 0 and DRAWN not in done.stdout:
        pytest.skip("nothing can be drawn off screen here: EGL or OSMesa is missing")
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "record.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("view", DRAGS)
def test_a_dragged_handle_moves_its_face_of_the_roi_and_no_other(seen, view) -> None:
    axis, side = DRAGS[view]
    before, after = seen[view]["before"]["bounds"], seen[view]["dragged"]["bounds"]
    moved = 2 * axis + side
    assert (after[moved] - before[moved]) * (2 * side - 1) == pytest.approx(PULL_MM, abs=1.0)
    assert [n for n in range(6) if abs(after[n] - before[n]) > 0.01] == [moved]


@pytest.mark.parametrize("view", DRAGS)
def test_a_drag_marks_the_result_as_stale_and_offers_to_run_again(seen, view) -> None:
    assert not seen[view]["before"]["stale"]
    assert seen[view]["dragged"]["stale"]
    assert seen[view]["dragged"]["button"] == "Segment again inside the ROI"
    assert seen[view]["dragged"]["voxels"] == seen[view]["before"]["voxels"], "the mask waits for the click"


@pytest.mark.parametrize("view", DRAGS)
def test_the_offered_click_segments_inside_the_new_box_and_asks_for_nothing_else(seen, view) -> None:
    dragged, again = seen[view]["dragged"], seen[view]["again"]
    assert dragged["box"] != seen[view]["before"]["box"]
    assert again["requests"] == [["segment", dragged["box"]]], "neither loading nor locating: the worker is warm"
    assert again["box"] == dragged["box"]
    assert again["voxels"] > seen[view]["before"]["voxels"], "the box has grown over more of the organ"
    assert again["voxels outside the box"] == 0
    assert not again["stale"]


def test_no_observer_or_slot_raised_meanwhile(seen) -> None:
    assert seen["raised"] == []
