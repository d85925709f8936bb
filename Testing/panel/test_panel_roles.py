"""Advanced, Localizer: any model that finds the pancreas puts the box for any other."""

import os
import shutil
import sys
from pathlib import Path

import pytest
import slicer
from Testing.helpers.actions import choose, chosen, mask, run
from Testing.helpers.bright_model import a_patient, write_bright_model
from Testing.helpers.model_samples import write_tiny
from Testing.helpers.panel import aWidget, remove, wait

from pancreasseg.core.setup import AUTOMATIC, Setup
from pancreasseg.measure.compare import dice
from pancreasseg.worker.client import WorkerClient
from PancreasSegLib.Panel.Panel import Panel
from PancreasSegLib.Scene import SceneFiles, VolumeNodes
from PancreasSegLib.Work.Workflow import Workflow

BUNDLED = "pancreas-ct"


@pytest.fixture
def home() -> Path:
    """The store's folder, with a model that finds and segments; another one only segments."""
    folder = Path(os.environ["PANCREASSEG_HOME"])
    write_bright_model(folder, "bright")
    write_tiny(folder / "models" / "fine-only", name="fine-only")
    return folder


@pytest.fixture
def listed(panel, home, selected):
    panel.models.list()
    panel.refresh()
    return panel


def asked(client) -> Setup:
    """What the worker was last asked to locate with."""
    return next(value for name, value in reversed(client.requests) if name == "localize")


def test_what_can_find_a_pancreas_is_offered_beside_the_model(listed, ui) -> None:
    offered = [ui.localizerSelector.itemData(n) for n in range(ui.localizerSelector.count)]
    assert offered[0] == ""
    assert set(offered[1:]) == {BUNDLED, "bright"}
    assert ui.localizerSelector.itemText(0) == "Automatic: the model's own, or the best one installed"
    assert ui.modelSelector.findData("fine-only") > 0, "it segments"


@pytest.mark.parametrize(
    ("model", "localizer", "sent", "status"),
    [
        ("fine-only", BUNDLED, f"{BUNDLED}+fine-only", f"(fine-only 1.0.0), box by {BUNDLED}"),
        ("bright", BUNDLED, f"{BUNDLED}+bright", f"(bright 1.0.0), box by {BUNDLED}"),
        (BUNDLED, "bright", f"bright+{BUNDLED}", "box by bright"),
        ("", "bright", "bright+", "box by bright"),
        ("bright", "", "bright", "(bright 1.0.0) ·"),
        ("bright", "bright", "bright+bright", "(bright 1.0.0) ·"),
        ("", "", None, "(fine-only 1.0.0) ·"),
    ],
)
def test_the_choice_reaches_the_worker_and_the_status_line(listed, ui, client, model, localizer, sent, status) -> None:
    choose(listed, "model", model)
    choose(listed, "localizer", localizer)
    assert ui.segmentButton.enabled, ui.segmentButton.toolTip
    assert status in ui.statusLabel.text
    run(listed)
    assert asked(client).model == sent
    assert (chosen(listed, "model"), chosen(listed, "localizer")) == (model, localizer)


def test_every_ct_keeps_its_own_choice_also_in_a_saved_scene(listed, ui, scene, selected, tmp_path) -> None:
    choose(listed, "localizer", "bright")
    other = VolumeNodes.addVolumeNode(scene, a_patient()[0], "Other")
    ui.volumeSelector.setCurrentNode(other)
    assert chosen(listed, "localizer") == ""
    ui.volumeSelector.setCurrentNode(selected)
    assert chosen(listed, "localizer") == "bright"
    SceneFiles.saveScene(scene, tmp_path / "scene.mrb")
    scene.Clear(False)
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"), True)
    wait(lambda: ui.volumeSelector.currentNode() is not None)
    assert chosen(listed, "localizer") == "bright"


def test_a_localizer_that_is_gone_gives_way_with_a_sentence(listed, ui, home) -> None:
    choose(listed, "model", "fine-only")
    choose(listed, "localizer", "bright")
    shutil.rmtree(home / "models" / "bright")
    listed.models.list()
    assert listed.session.parameters.setup == Setup(model="fine-only")
    assert chosen(listed, "localizer") == ""
    assert "localizer 'bright', which was chosen for this CT, is not installed" in ui.segmentMessage.text
    assert ui.segmentButton.enabled


def test_a_scene_of_another_computer_may_name_two_models_that_are_not_here(listed, ui) -> None:
    parameters = listed.session.parameters
    parameters.model, parameters.localizer = "strong", "coarse"
    listed.refresh()
    assert parameters.setup == AUTOMATIC
    assert "'coarse'" in ui.segmentMessage.text
    assert "'strong'" in ui.segmentMessage.text


def test_where_no_localizer_is_used_none_can_be_chosen_and_it_is_said_why(listed, ui) -> None:
    choose(listed, "pipeline", "single-stage")
    assert not ui.localizerSelector.enabled
    assert ui.localizerSelector.toolTip == "The pipeline 'single-stage' looks without a localizer."
    choose(listed, "pipeline", "fast")
    assert ui.localizerSelector.enabled
    choose(listed, "localizer", "bright")
    choose(listed, "pipeline", "single-stage")
    assert listed.session.parameters.localizer == ""
    assert "'bright' cannot find the box for this choice" in ui.segmentMessage.text
    assert ui.segmentButton.enabled


def test_a_model_for_a_pipeline_without_localizer_can_have_one_put_before_it(listed, ui, client) -> None:
    """Its own pipeline slides over the body; with a box it works inside that."""
    choose(listed, "model", "fine-only")
    assert ui.localizerSelector.enabled
    assert "box by" not in ui.statusLabel.text
    choose(listed, "localizer", "bright")
    assert ui.accurateRadioButton.enabled


def test_it_cannot_be_changed_in_the_middle_of_a_run(listed, ui, client) -> None:
    client.held = True
    ui.segmentButton.click()
    assert not ui.localizerSelector.enabled
    assert "run is going on" in ui.localizerSelector.toolTip
    client.held = False
    wait(lambda: listed.settled)
    assert ui.localizerSelector.enabled


def test_an_ensemble_that_a_script_has_chosen_is_shown_as_what_it_is(listed, ui, client, home) -> None:
    listed.session.parameters.model = f"{BUNDLED}+bright,fine-only"
    listed.refresh()
    assert chosen(listed, "model") == f"{BUNDLED}+bright"
    assert listed.session.parameters.voters == ("fine-only",)
    assert f"(bright 1.0.0) voting with fine-only, box by {BUNDLED}" in ui.statusLabel.text
    run(listed)
    assert asked(client).model == f"{BUNDLED}+bright,fine-only"


@pytest.mark.slow
def test_the_box_of_one_model_and_the_mask_of_another_by_the_real_worker(
    module, scene, dialogs, home, monkeypatch
) -> None:
    monkeypatch.setattr("PancreasSegLib.Panel.Runner.DOUBLE_CLICK_SECONDS", 0.0)
    write_bright_model(home, "finder")
    volume, organ = a_patient()
    widget = aWidget()
    panel = Panel(slicer.util.childWidgetVariables(widget), Workflow(WorkerClient()), sys.executable, dialogs)
    try:
        panel.ui.volumeSelector.setCurrentNode(VolumeNodes.addVolumeNode(scene, volume, "CT"))
        parameters = panel.session.parameters
        parameters.precision = "f32"
        choose(panel, "model", "bright")
        choose(panel, "localizer", "finder")
        panel.ui.segmentButton.click()
        wait(lambda: panel.settled, 300)
        assert dice(mask(parameters), organ) > 0.9
        assert [model["name"] for model in parameters.result["provenance"]["models"]] == ["finder", "bright"]
    finally:
        panel.close()
        remove(widget)
