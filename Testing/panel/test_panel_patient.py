"""A model for synthetic images on a patient, and the organ in 3D."""

from pathlib import Path

import pytest
import slicer
from Testing.helpers.actions import edit, mask, run
from Testing.helpers.builders import aCt, aGeometry
from Testing.helpers.model_samples import write_tiny
from Testing.helpers.panel import wait

from pancreasseg.models.store import Store
from PancreasSegLib.Panel.Widgets import Quiet
from PancreasSegLib.Scene import Segments, Surfaces, VolumeNodes


@pytest.fixture
def onlySynthetic(panel, monkeypatch, tmp_path):
    """Nothing is there but a model for phantoms."""
    write_tiny(tmp_path / "bundled" / "phantoms", name="phantoms", synthetic=True)
    monkeypatch.setattr("pancreasseg.models.store.bundled_folder", lambda: tmp_path / "bundled")
    panel.models.list()
    panel.refresh()
    return panel


def test_a_synthetic_model_on_a_patient_is_said_in_red_beside_the_button(onlySynthetic, ui, selected) -> None:
    assert "synthetic images only" in ui.syntheticLabel.text
    assert "#c62828" in ui.syntheticLabel.text
    assert not ui.patientModelButton.isHidden()
    assert ui.segmentButton.enabled, "a person may all the same"


def test_on_a_phantom_nothing_is_said(onlySynthetic, ui, scene) -> None:
    ui.volumeSelector.setCurrentNode(VolumeNodes.addPhantomNode(scene, aCt(aGeometry()), "Phantom CT"))
    assert ui.syntheticLabel.isHidden()
    assert ui.patientModelButton.isHidden()


def test_one_click_offers_the_download_of_a_model_for_patients(
    onlySynthetic, ui, dialogs, selected, monkeypatch
) -> None:
    started = []
    monkeypatch.setattr(
        "PancreasSegLib.Panel.Installer.Task", lambda arguments, python: started.append(arguments) or Held()
    )
    ui.patientModelButton.click()
    assert len(dialogs.asked) == 1
    assert dialogs.asked[0].startswith("Download ")
    ((command, name),) = started
    assert command == "install"
    row = next(row for row in onlySynthetic.models.rows if row.name == name)
    assert row.state == "available"
    assert not row.card.get("synthetic")
    assert not ui.modelsGroup.collapsed, "progress and Cancel are in view"


class Held:
    """An installation that goes on."""

    def poll(self) -> list:
        return []

    def end(self) -> None:
        pass


def test_with_a_model_for_patients_installed_one_click_takes_it(panel, ui, selected) -> None:
    store = Store(Path(panel.session.models.home))
    write_tiny(store.folder / "tiny-model")
    write_tiny(store.folder / "phantoms", name="phantoms", synthetic=True)
    panel.models.list()
    panel.session.parameters.model = "phantoms"
    panel.refresh()
    assert not ui.patientModelButton.isHidden()
    ui.patientModelButton.click()
    assert ui.syntheticLabel.isHidden()
    assert not panel.session.models.isSynthetic(panel.session.parameters.setup)


def test_after_a_run_the_organ_is_shown_in_3d(panel, ui, selected) -> None:
    looked = slicer.app.layoutManager().resetsOf3D
    run(panel)
    node = panel.session.parameters.segmentationNode
    surface = node.GetClosedSurfaceInternalRepresentation(panel.session.parameters.segmentId)
    assert surface.GetNumberOfPoints() > 0
    assert slicer.app.layoutManager().resetsOf3D == looked + 1


def test_the_camera_stays_where_a_person_turned_it(panel, ui, selected) -> None:
    run(panel)
    looked = slicer.app.layoutManager().resetsOf3D
    run(panel)
    assert slicer.app.layoutManager().resetsOf3D == looked
    assert Surfaces.isSurfaceShown(panel.session.parameters.segmentationNode)


def test_the_surface_is_an_option_that_is_remembered(panel, ui, selected) -> None:
    ui.surfaceCheckBox.checked = False
    run(panel)
    node = panel.session.parameters.segmentationNode
    assert not Surfaces.isSurfaceShown(node)
    ui.surfaceCheckBox.checked = True
    assert Surfaces.isSurfaceShown(node)
    ui.surfaceCheckBox.checked = False
    assert not Surfaces.isSurfaceShown(node)
    with Quiet(ui.surfaceCheckBox):
        ui.surfaceCheckBox.checked = True
    type(panel.segment)(ui, panel.session, panel.runner)  # as at the next start
    assert not ui.surfaceCheckBox.checked


def test_the_surface_is_no_edit_and_undo_still_brings_everything_back(panel, ui, selected) -> None:
    run(panel)
    assert not panel.session.edited
    ui.segmentEditor.saveStateForUndo()
    edit(panel.session.parameters)
    panel.statistics.update()
    wait(lambda: panel.settled)
    assert panel.session.edited
    ui.segmentEditor.undo()
    panel.statistics.update()
    wait(lambda: panel.settled)
    assert not panel.session.edited


def test_a_segment_that_is_erased_has_no_surface_and_no_complaint(panel, ui, selected) -> None:
    """VTK would write an error for every image of one voxel; the test fails on it."""
    run(panel)
    parameters = panel.session.parameters
    Segments.writeMask(mask(parameters) * 0, parameters.segmentationNode, parameters.segmentId, selected)
    assert (
        parameters.segmentationNode.GetClosedSurfaceInternalRepresentation(parameters.segmentId).GetNumberOfPoints()
        == 0
    )
