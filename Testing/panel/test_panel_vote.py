"""Advanced, Vote together: several installed segmenters are asked together, and where they differ is shown."""

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import qt
import slicer
from Testing.helpers.actions import choose, chosen, mask, run
from Testing.helpers.bright_model import a_patient, write_bright_model
from Testing.helpers.model_cards import network_entry
from Testing.helpers.model_samples import ARGUMENTS, write_tiny
from Testing.helpers.panel import aWidget, remove, wait

from pancreasseg.core.setup import Setup
from pancreasseg.measure.compare import dice
from pancreasseg.worker.client import WorkerClient
from PancreasSegLib.Panel.Panel import Panel
from PancreasSegLib.Scene import SceneFiles, VolumeNodes
from PancreasSegLib.Work.Workflow import Workflow

BUNDLED = "pancreas-ct"


@pytest.fixture
def home() -> Path:
    """The store's folder: two that find and segment, one that only segments, one that finds, one that sees all."""
    folder = Path(os.environ["PANCREASSEG_HOME"])
    write_bright_model(folder, "bright", title="Bright")
    write_bright_model(folder, "brighter", 170.0, title="Brighter")
    write_tiny(folder / "models" / "fine-only", name="fine-only", title="Fine")
    for role, pipeline in (("localizer", "two-stage"), ("whole-volume", "whole-volume")):
        entry = network_entry(role, arguments=ARGUMENTS, members=["one", "two"])
        write_tiny(folder / "models" / role, name=role, title=role, pipeline=pipeline, networks=[entry])
    return folder


@pytest.fixture
def listed(panel, home, selected):
    panel.models.list()
    panel.refresh()
    return panel


def items(panel) -> dict:
    """The rows of the list by title."""
    widget = panel.ui.votersList
    rows = [widget.item(number) for number in range(widget.count)]
    return {row.text().rpartition(" ")[0]: row for row in rows}


def click(panel, title: str) -> None:
    """As a person clicks on a check mark."""
    item = items(panel)[title]
    assert free(item), item.toolTip()
    item.setCheckState(qt.Qt.Unchecked if item.checkState() == qt.Qt.Checked else qt.Qt.Checked)


def free(item) -> bool:
    return bool(item.flags() & qt.Qt.ItemIsEnabled)


def checked(panel) -> set[str]:
    return {title for title, item in items(panel).items() if item.checkState() == qt.Qt.Checked}


def asked(client) -> Setup:
    """What the worker was last asked to locate with."""
    return next(value for name, value in reversed(client.requests) if name == "localize")


def test_the_chosen_model_is_checked_and_what_cannot_vote_with_it_says_why(listed, ui) -> None:
    choose(listed, "model", "bright")
    assert checked(listed) == {"Bright"}
    assert not free(items(listed)["Bright"])
    assert free(items(listed)["Brighter"])
    assert free(items(listed)["Fine"])
    for name in ("localizer", "whole-volume"):
        assert not free(items(listed)[name])
        assert "cannot vote: it has no network that segments inside a box" in items(listed)[name].toolTip()
    choose(listed, "model", "whole-volume")
    assert not any(free(item) for item in items(listed).values())
    assert "The model whole-volume cannot vote" in items(listed)["Bright"].toolTip()


@pytest.mark.parametrize(
    ("model", "localizer", "votes", "sent", "status"),
    [
        ("bright", "", ["Fine"], "bright,fine-only", "Bright (bright 1.0.0) voting with fine-only ·"),
        ("fine-only", "", ["Bright"], "fine-only,bright", "voting with bright, box by localizer"),
        ("bright", BUNDLED, ["Brighter"], f"{BUNDLED}+bright,brighter", f"voting with brighter, box by {BUNDLED}"),
        ("", "", ["Bright"], ",bright", "Fine (fine-only 1.0.0) voting with bright"),
        ("", "localizer", ["Bright"], "localizer+,bright", "voting with bright, box by localizer"),
    ],
)
def test_the_vote_reaches_the_worker_and_the_status_line(
    listed, ui, client, selected, model, localizer, votes, sent, status
) -> None:
    choose(listed, "model", model)
    choose(listed, "localizer", localizer)
    before = checked(listed)
    for title in votes:
        click(listed, title)
    assert checked(listed) == before.union(votes)
    assert ui.segmentButton.enabled, ui.segmentButton.toolTip
    assert status in ui.statusLabel.text
    run(listed)
    assert asked(client).model == sent
    assert chosen(listed, "model") == model
    Workflow(client).run(selected)
    assert asked(client).model == sent, "a script that segments this CT has the same models vote"
    for title in votes:
        click(listed, title)
    assert checked(listed) == before
    assert "voting" not in ui.statusLabel.text


def test_every_ct_keeps_its_own_vote_also_in_the_list_of_patients_and_in_a_saved_scene(
    listed, ui, client, scene, selected, tmp_path
) -> None:
    choose(listed, "model", "bright")
    click(listed, "Fine")
    other = VolumeNodes.addVolumeNode(scene, a_patient()[0], "Other")
    ui.volumeSelector.setCurrentNode(other)
    assert checked(listed) == {"Fine"}, "the best one, by itself"
    choose(listed, "model", "brighter")
    click(listed, "Bright")
    ui.addLoadedButton.click()
    ui.segmentAllButton.click()
    wait(lambda: not (listed.patients.pending or listed.session.busy) and listed.settled)
    assert {value.model for name, value in client.requests if name == "localize"} == {
        "bright,fine-only",
        "brighter,bright",
    }
    ui.volumeSelector.setCurrentNode(selected)
    assert checked(listed) == {"Bright", "Fine"}
    SceneFiles.saveScene(scene, tmp_path / "scene.mrb")
    scene.Clear(False)
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"), True)
    wait(lambda: ui.volumeSelector.currentNode() is not None)
    ui.volumeSelector.setCurrentNode(slicer.util.getNode("Other"))
    assert checked(listed) == {"Brighter", "Bright"}


def test_a_model_is_asked_once_when_one_that_votes_is_chosen_above(listed) -> None:
    choose(listed, "model", "bright")
    click(listed, "Brighter")
    click(listed, "Fine")
    choose(listed, "model", "brighter")
    assert listed.session.parameters.setup.model == "brighter,fine-only"
    assert checked(listed) == {"Brighter", "Fine"}


def remove_model(panel, title: str) -> None:
    """As a person removes one in the table."""
    table = panel.ui.modelsTable
    table.selectRow([table.item(row, 0).text() for row in range(table.rowCount)].index(title))
    panel.ui.removeModelButton.click()


def used(panel) -> set[str]:
    """The models that the table marks."""
    table = panel.ui.modelsTable
    return {table.item(row, 0).text() for row in range(table.rowCount) if "in use" in table.item(row, 1).text()}


def test_one_that_votes_is_marked_and_when_it_is_removed_the_others_go_on(listed, ui, dialogs) -> None:
    choose(listed, "model", "bright")
    for title in ("Brighter", "Fine"):
        click(listed, title)
    assert used(listed) == {"Bright", "Brighter", "Fine"}
    remove_model(listed, "Fine")
    assert dialogs.asked == ["Delete 'Fine' from this computer? The next run would use it."]
    assert listed.session.parameters.setup.model == "bright,brighter"
    assert ui.segmentMessage.text == (
        "The model 'fine-only', which was chosen to vote for this CT, is not installed; it is not asked."
    )
    assert used(listed) == checked(listed) == {"Bright", "Brighter"}
    remove_model(listed, "Bright")
    assert listed.session.parameters.setup.model == "brighter"
    assert "'bright', which was chosen for this CT, is not installed; brighter is used." in ui.segmentMessage.text
    assert ui.segmentButton.enabled


def test_a_scene_of_another_computer_may_name_models_of_which_none_is_here(listed, ui) -> None:
    listed.session.parameters.model = "strong,stronger"
    listed.refresh()
    assert listed.session.parameters.setup == Setup()
    assert "'stronger'" in ui.segmentMessage.text
    assert "'strong', which was chosen for this CT, is not installed; the best one is used." in ui.segmentMessage.text


@pytest.mark.parametrize(("selector", "name"), [("pipeline", "single-stage"), ("model", "whole-volume")])
def test_where_nothing_can_vote_the_vote_ends_with_a_sentence(listed, ui, selector, name) -> None:
    choose(listed, "model", "bright")
    click(listed, "Brighter")
    choose(listed, selector, name)
    assert listed.session.parameters.voters == ()
    assert ui.segmentMessage.text == "Nothing can vote with this choice; 'brighter' is not asked."
    assert ui.segmentButton.enabled, ui.segmentButton.toolTip
    assert not free(items(listed)["Brighter"])


def test_a_localizer_and_a_vote_that_do_not_fit_are_told_together(listed, ui) -> None:
    choose(listed, "model", "bright")
    choose(listed, "localizer", "localizer")
    click(listed, "Brighter")
    choose(listed, "pipeline", "fast")
    assert listed.session.parameters.setup.model == "localizer+bright,brighter"
    choose(listed, "pipeline", "single-stage")
    assert listed.session.parameters.setup.model == "bright"
    assert "'localizer' cannot find the box" in ui.segmentMessage.text
    assert "'brighter' is not asked" in ui.segmentMessage.text


def test_what_a_script_mixes_wrongly_is_refused_before_a_run_and_can_be_undone(listed, ui) -> None:
    listed.session.parameters.model = "bright,localizer"
    listed.refresh()
    assert not ui.segmentButton.enabled
    assert "The model localizer cannot vote" in ui.segmentButton.toolTip
    click(listed, "localizer")
    assert ui.segmentButton.enabled


def test_one_that_saw_synthetic_images_only_is_told_also_when_it_merely_votes(listed, ui, home) -> None:
    write_bright_model(home, "made-up", title="Made up", synthetic=True)
    listed.models.list()
    choose(listed, "model", "bright")
    assert ui.syntheticLabel.isHidden()
    click(listed, "Made up")
    assert not ui.syntheticLabel.isHidden()


def test_it_cannot_be_changed_in_the_middle_of_a_run(listed, ui, client) -> None:
    client.held = True
    ui.segmentButton.click()
    assert not ui.votersList.enabled
    assert "run is going on" in ui.votersList.toolTip
    client.held = False
    wait(lambda: listed.settled)
    assert ui.votersList.enabled


@pytest.mark.slow
def test_two_models_vote_in_the_real_worker_and_where_they_differ_is_shown(
    module, scene, dialogs, home, monkeypatch
) -> None:
    monkeypatch.setattr("PancreasSegLib.Panel.Runner.DOUBLE_CLICK_SECONDS", 0.0)
    shutil.rmtree(home / "models" / "fine-only")
    volume, organ = a_patient()
    widget = aWidget()
    panel = Panel(slicer.util.childWidgetVariables(widget), Workflow(WorkerClient()), sys.executable, dialogs)
    try:
        panel.ui.volumeSelector.setCurrentNode(VolumeNodes.addVolumeNode(scene, volume, "CT"))
        parameters = panel.session.parameters
        parameters.precision = "f32"
        choose(panel, "model", "bright")
        choose(panel, "pipeline", "fast")
        click(panel, "Brighter")
        panel.ui.segmentButton.click()
        wait(lambda: panel.settled, 300)
        assert dice(mask(parameters), organ) > 0.9
        assert [model["name"] for model in parameters.result["provenance"]["models"]] == ["bright", "brighter"]
        assert panel.ui.agreementCheckBox.enabled, panel.ui.agreementCheckBox.toolTip
        differing = slicer.util.arrayFromVolume(parameters.agreementMap)
        assert set(np.unique(differing)) == {0.0, 0.5}
    finally:
        panel.close()
        remove(widget)
