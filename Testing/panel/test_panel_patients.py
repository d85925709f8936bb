"""Several patients: segmented one after the other, looked through, in one table and one export."""

import csv
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import slicer
from Testing.helpers.actions import edit, mask
from Testing.helpers.builders import aCt, aGeometry
from Testing.helpers.panel import wait

from pancreasseg.core.errors import InputError
from PancreasSegLib.Scene import Segments, VolumeNodes
from PancreasSegLib.Scene.Parameters import Parameters
from PancreasSegLib.Work import PatientTables


@pytest.fixture(autouse=True)
def hurried(monkeypatch) -> None:
    """Before the panel is built."""
    monkeypatch.setattr("PancreasSegLib.Panel.PatientsSection.POLL_MILLISECONDS", 2)


@pytest.fixture
def cts(scene):
    """Three CTs of different sizes, and a labelmap."""
    made = [
        VolumeNodes.addVolumeNode(scene, aCt(aGeometry(size=size), seed), name)
        for seed, (name, size) in enumerate({"A": (40, 36, 20), "B": (30, 26, 18), "C": (32, 40, 22)}.items())
    ]
    scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
    return made


@pytest.fixture
def listed(panel, ui, cts):
    ui.addLoadedButton.click()
    wait(lambda: not panel.patients.pending)
    return panel


def column(ui, number: int) -> list[str]:
    table = ui.patientsTable
    return [table.item(row, number).text() for row in range(table.rowCount)]


def states(ui) -> list[str]:
    return column(ui, 1)


def finish(panel) -> None:
    wait(lambda: not (panel.patients.pending or panel.session.busy) and panel.settled)


def test_every_ct_of_the_scene_comes_into_the_list_once(listed, ui) -> None:
    assert column(ui, 0) == ["A", "B", "C"]
    assert states(ui) == ["waiting"] * 3
    ui.addLoadedButton.click()
    assert ui.patientsTable.rowCount == 3
    assert ui.patientsMessage.text == "There is no CT in the scene that is not in the list already."


def test_all_are_segmented_one_after_the_other_and_measured(listed, ui, client, cts) -> None:
    ui.segmentAllButton.click()
    assert ui.segmentAllButton.text == "Cancel"
    finish(listed)
    assert states(ui) == ["segmented"] * 3
    assert [name for name, _ in client.requests].count("segment") == 3
    for node, volume in zip(cts, column(ui, 2), strict=True):
        parameters = Parameters.forVolume(node)
        millilitres = mask(parameters).sum() * aGeometry().voxel_ml
        assert volume == f"{millilitres:.1f} ml"
        assert parameters.automaticBox == parameters.segmentedBox
    assert ui.patientsMessage.text == "3 segmented"
    assert ui.segmentAllButton.text == "Segment all"
    assert not ui.segmentAllButton.enabled
    assert "All CTs of the list are segmented" in ui.segmentAllButton.toolTip


def test_one_is_broken_and_one_is_cancelled_and_the_scene_is_intact(listed, ui, client, cts, scene) -> None:
    ui.volumeSelector.setCurrentNode(cts[0])
    client.fail["localize"] = InputError("no-body", "There is no body in this CT.", "Select another one.")
    real = client.segment

    def segment(*asked):
        client.held = client.geometry.size == aGeometry(size=(32, 40, 22)).size  # C goes on until it is cancelled
        return real(*asked)

    client.segment = segment
    ui.segmentAllButton.click()
    wait(lambda: listed.patients.patients.current is not None and client.held)
    assert states(ui) == ["failed", "segmented", "running"]
    ui.segmentAllButton.click()
    finish(listed)
    assert states(ui) == ["failed", "segmented", "cancelled"]
    assert column(ui, 3)[0] == "There is no body in this CT. Select another one."
    assert [Parameters.forVolume(node).hasSegment() for node in cts] == [False, True, False]
    ui.patientsTableButton.click()
    finish(listed)
    table = scene.GetFirstNodeByName("Pancreas of several patients")
    assert table.GetNumberOfRows() == 3
    assert [table.GetCellText(row, 1) for row in range(3)] == ["failed", "done", "cancelled"]
    client.segment, client.held = real, False
    ui.segmentAllButton.click()
    finish(listed)
    assert states(ui) == ["segmented"] * 3, "started again, the others follow"
    assert [name for name, _ in client.requests].count("segment") == 2 + 2 - 1 + 1


def test_next_and_previous_show_one_patient_and_hide_the_others(listed, ui, cts) -> None:
    ui.segmentAllButton.click()
    finish(listed)
    ui.volumeSelector.setCurrentNode(None)
    ui.nextPatientButton.click()
    assert ui.volumeSelector.currentNode() is cts[0]
    assert not ui.previousPatientButton.enabled
    ui.nextPatientButton.click()
    ui.nextPatientButton.click()
    assert ui.volumeSelector.currentNode() is cts[2]
    assert not ui.nextPatientButton.enabled
    shown = [Parameters.forVolume(node).segmentationNode.GetDisplayNode().GetVisibility() for node in cts]
    assert shown == [0, 0, 1]
    ui.previousPatientButton.click()
    assert ui.volumeSelector.currentNode() is cts[1]
    assert Parameters.forVolume(cts[1]).roiNode.GetDisplayNode().GetVisibility()
    assert not Parameters.forVolume(cts[2]).roiNode.GetDisplayNode().GetVisibility()


def test_a_person_looks_at_one_while_another_is_segmented(listed, ui, client, cts) -> None:
    ui.segmentAllButton.click()
    wait(lambda: states(ui)[0] == "segmented")
    client.held = True
    listed.patients.showPatient(0)
    assert ui.volumeSelector.currentNode() is cts[0]
    wait(lambda: ui.statisticsTable.rowCount > 0 or client.held)
    client.held = False
    finish(listed)
    assert ui.volumeSelector.currentNode() is cts[0], "the views stay with the person"
    assert Parameters.forVolume(cts[0]).segmentationNode.GetDisplayNode().GetVisibility()
    assert not Parameters.forVolume(cts[2]).segmentationNode.GetDisplayNode().GetVisibility()


def test_the_table_measures_what_a_person_has_corrected_since(listed, ui, cts, dialogs, tmp_path) -> None:
    ui.segmentAllButton.click()
    finish(listed)
    before = column(ui, 2)
    edit(Parameters.forVolume(cts[1]))
    dialogs.path = str(tmp_path / "Kohorte ü.csv")
    ui.patientsCsvButton.click()
    finish(listed)
    with Path(dialogs.path).open(encoding="utf-8", newline="") as file:
        titles, *rows = csv.reader(file)
    assert titles[:4] == ["CT", "State", "Remark", "Volume [ml]"]
    assert [row[0] for row in rows] == ["A", "B", "C"]
    volume = mask(Parameters.forVolume(cts[1])).sum() * aGeometry().voxel_ml
    assert float(rows[1][3]) == pytest.approx(volume, abs=0.06)
    assert column(ui, 2)[1] != before[1]
    assert ui.patientsMessage.text == "Saved."


def test_hand_work_is_kept_and_measured(panel, ui, listed, client, cts) -> None:
    node = Segments.addSegmentationNode(cts[1], "By hand")
    parameters = Parameters.forVolume(cts[1])
    parameters.segmentationNode, parameters.segmentId = node, Segments.addPancreasSegment(node)
    drawn = VolumeNodes.readVolumeNode(cts[1]).array > 200
    Segments.writeMask(drawn, node, parameters.segmentId, cts[1])
    ui.segmentAllButton.click()
    finish(listed)
    assert states(ui) == ["segmented", "corrected by hand, kept", "segmented"]
    assert (mask(parameters) == drawn).all()
    assert column(ui, 2)[1].endswith(" ml")


def test_all_are_exported_into_one_folder_under_their_names(listed, ui, cts, tmp_path) -> None:
    ui.segmentAllButton.click()
    finish(listed)
    cts[1].SetName("B / portal venous")
    listed.patients.patients.rows[1].name = cts[1].GetName()
    ui.exportFolder.currentPath = str(tmp_path)
    ui.patientsFormatSelector.setCurrentIndex(ui.patientsFormatSelector.findData("nifti"))
    ui.exportAllButton.click()
    finish(listed)
    names = sorted(path.name for path in tmp_path.glob("*.nii.gz"))
    assert names == ["A-pancreas.nii.gz", "B-portal-venous-pancreas.nii.gz", "C-pancreas.nii.gz"]
    assert ui.patientsMessage.text == "Written: the segments of 3 CTs."


def test_what_cannot_be_exported_is_named_and_stops_no_other(listed, ui, cts, tmp_path, scene) -> None:
    ui.segmentAllButton.click()
    finish(listed)
    empty = Parameters.forVolume(cts[0])
    Segments.writeMask(mask(empty) * 0, empty.segmentationNode, empty.segmentId, cts[0])
    ui.exportFolder.currentPath = str(tmp_path)
    ui.patientsFormatSelector.setCurrentIndex(ui.patientsFormatSelector.findData("nrrd"))
    ui.exportAllButton.click()
    finish(listed)
    assert ui.patientsMessage.text.startswith("Written: the segments of 2 CTs. A: ")
    assert len(list(tmp_path.glob("*.seg.nrrd"))) == 2
    ui.patientsFormatSelector.setCurrentIndex(ui.patientsFormatSelector.findData("rtstruct"))
    ui.exportAllButton.click()
    finish(listed)
    assert ui.patientsMessage.text.count("not loaded from DICOM") == 3


def test_a_ct_that_is_removed_in_the_meantime_is_a_sentence(listed, ui, scene, cts) -> None:
    scene.RemoveNode(cts[1])
    ui.segmentAllButton.click()
    finish(listed)
    assert states(ui) == ["segmented", "failed", "segmented"]
    assert "no longer in the scene" in column(ui, 3)[1]


def test_closing_the_scene_in_the_middle_forgets_the_list(listed, ui, client, scene) -> None:
    client.held = True
    ui.segmentAllButton.click()
    wait(lambda: listed.patients.patients.current is not None)
    scene.Clear(False)
    client.held = False
    finish(listed)
    assert ui.patientsTable.rowCount == 0
    assert not ui.segmentAllButton.enabled
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_a_row_can_be_removed_but_not_while_it_is_segmented(listed, ui, client) -> None:
    client.held = True
    ui.segmentAllButton.click()
    wait(lambda: listed.patients.patients.current is not None)
    ui.patientsTable.selectRow(0)
    assert not ui.removePatientButton.enabled
    ui.patientsTable.selectRow(2)
    ui.removePatientButton.click()
    client.held = False
    finish(listed)
    assert states(ui) == ["segmented", "segmented"]


@pytest.fixture
def dicom(panel, scene, monkeypatch):
    """The DICOM module with three series selected in its browser, one of them no CT."""
    series = {"1.2.3": ("CT", "5", "Abdomen pv"), "1.2.4": ("CT", "", ""), "1.2.5": ("SEG", "9", "Segmentation")}
    tags = {"0008,0060": 0, "0020,0011": 1, "0008,103e": 2}

    class Database:
        @staticmethod
        def fileValue(file: str, tag: str) -> str:
            return file if tag == "0020,000e" else series[file][tags[tag]]

    def loadSeriesByUID(uids):
        if uids == ["1.2.4"]:
            return []
        return [VolumeNodes.addVolumeNode(scene, aCt(aGeometry()), "5: Abdomen pv").GetID()]

    widget = SimpleNamespace(browserWidget=SimpleNamespace(fileLists=[[uid] for uid in series]))
    monkeypatch.setattr(slicer.modules, "DICOMWidget", widget, raising=False)
    monkeypatch.setattr(slicer, "dicomDatabase", Database, raising=False)
    module = ModuleType("DICOMLib")
    module.DICOMUtils = SimpleNamespace(loadSeriesByUID=loadSeriesByUID)
    monkeypatch.setitem(sys.modules, "DICOMLib", module)
    return widget


def test_what_is_selected_in_the_dicom_browser_is_loaded_when_its_turn_comes(panel, ui, dicom, scene) -> None:
    ui.addDicomButton.click()
    assert column(ui, 0) == ["5: Abdomen pv", "CT series"]
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    ui.segmentAllButton.click()
    finish(panel)
    assert states(ui) == ["segmented", "failed"]
    assert "could not be loaded" in column(ui, 3)[1]
    ui.addDicomButton.click()
    assert ui.patientsTable.rowCount == 2


def test_without_a_selection_in_the_dicom_browser_a_sentence_says_what_to_do(panel, ui, dicom, monkeypatch) -> None:
    dicom.browserWidget.fileLists = [["1.2.5"]]
    ui.addDicomButton.click()
    assert ui.patientsMessage.text.startswith("No CT series is selected in the DICOM browser.")
    dicom.browserWidget = None
    ui.addDicomButton.click()
    assert ui.patientsMessage.text.startswith("The DICOM browser was not opened yet.")


def test_packages_that_are_missing_are_said_and_nothing_is_begun(listed, ui, client, monkeypatch) -> None:
    monkeypatch.setattr("PancreasSegLib.Work.Dependencies.missing", lambda: ("torch",))
    ui.segmentAllButton.click()
    finish(listed)
    assert states(ui) == ["failed"] * 3
    assert "torch" in column(ui, 3)[0]


def test_an_empty_list_says_what_to_do(panel, ui) -> None:
    assert ui.segmentAllButton.toolTip == "Put some CTs into the list first."
    assert PatientTables.rowsOf([]) == [["CT", "State", "Remark"]]
