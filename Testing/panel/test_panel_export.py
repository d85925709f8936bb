"""Files for planning, read back by other libraries, and margins."""

import builtins
import io
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import slicer
import vtk
from pydicom.uid import generate_uid
from PySide6 import QtCore
from rt_utils import RTStructBuilder
from Testing.helpers.actions import edit, mask, run
from Testing.helpers.builders import aCt, aGeometry
from Testing.helpers.ct_files import a_series, write_slices
from Testing.helpers.panel import remove, wait

from pancreasseg.core import Box
from pancreasseg.core.errors import explain
from pancreasseg.core.geometry import lps_ras
from pancreasseg.core.progress import Progress
from pancreasseg.io.read import read_volume
from pancreasseg.worker import task
from PancreasSegLib.Panel import ExportSection
from PancreasSegLib.Panel.Widgets import Quiet
from PancreasSegLib.Scene import Segments, VolumeNodes
from PancreasSegLib.Work import Dicom


class TaskHere:
    """Does in this process, at once, what a task would do in one of its own."""

    started: ClassVar[list[str]] = []

    def __init__(self, arguments, python) -> None:
        TaskHere.started.append(arguments[0])
        try:
            self._answer = task.TASKS[arguments[0]](arguments[1:], Progress())
        except Exception as error:
            self._answer = explain(error)

    def poll(self) -> list:
        if isinstance(self._answer, Exception):
            raise self._answer
        return [self._answer]

    def end(self) -> None:
        pass


@pytest.fixture
def tasksHere(monkeypatch):
    monkeypatch.setattr(TaskHere, "started", [])
    monkeypatch.setattr(Dicom, "Task", TaskHere)
    monkeypatch.setattr("PancreasSegLib.Panel.ExportSection.POLL_MILLISECONDS", 2)
    return TaskHere


def click(panel, button) -> None:
    """Click on an export button, and wait for the file."""
    button.click()
    wait(lambda: not panel.export.busy)


def openSection(panel) -> None:
    """Open the section, and wait for the preflight."""
    panel.ui.exportSection.collapsed = True
    panel.ui.exportSection.collapsed = False
    wait(lambda: not panel.export.busy)


BUTTONS = ("dicomSegButton", "rtstructButton", "niftiButton", "nrrdButton", "stlButton")


@pytest.fixture
def folder(ui, tmp_path):
    """An export folder with a name that is not easy."""
    path = tmp_path / "Planung für morgen"
    path.mkdir()
    ui.exportFolder.currentPath = str(path)
    return path


@pytest.fixture
def series(tmp_path):
    """A DICOM series on disk, with voxels that the fake worker takes for a pancreas."""
    shape = (20, 32, 32)  # square voxels and slices: all that rt-utils places right
    array = np.random.default_rng(3).integers(-150, 250, shape, dtype=np.int16)
    array[:, :4] = array[:, -4:] = array[:, :, :4] = array[:, :, -4:] = -1000  # air
    return write_slices(tmp_path / "series", a_series(array, PixelSpacing=[2.0, 2.0]))


@pytest.fixture
def dicomCt(panel, scene, series, monkeypatch):
    """A CT that Slicer knows from its DICOM database."""
    volume = read_volume(series)
    node = VolumeNodes.addVolumeNode(scene, volume, "CT from DICOM")
    files = {f"uid{n}": str(path) for n, path in enumerate(sorted(series.iterdir()))}
    node.SetAttribute("DICOM.instanceUIDs", " ".join(files))

    dcmread = pydicom.dcmread  # whatever a test makes of it

    class Database:
        """As Slicer's: whatever goes wrong while a file is inserted is logged, and nobody is told."""

        inserted: ClassVar[list[str]] = []
        writable: ClassVar[bool] = True
        prepared = shown = False

        @staticmethod
        def fileForInstance(identifier: str) -> str:
            return files.get(identifier, "")

        @classmethod
        def prepareInsert(cls) -> None:
            cls.prepared = True

        @classmethod
        def insert(cls, path: str) -> None:
            assert cls.prepared
            cls.prepared, cls.shown = False, False
            if cls.writable:
                cls.inserted.append(path)
                files[dcmread(path).SOPInstanceUID] = f"copy of {path}"

        @classmethod
        def updateDisplayedFields(cls) -> None:
            cls.shown = True

    monkeypatch.setattr(slicer, "dicomDatabase", Database, raising=False)
    return node


@pytest.fixture
def fromDicom(tasksHere, panel, dicomCt):
    """The panel with that CT, segmented, and the section open."""
    panel.ui.volumeSelector.setCurrentNode(dicomCt)
    run(panel)
    openSection(panel)
    return panel


class Clicks:
    """A person's hand, which counts."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, widget) -> None:
        assert widget.enabled, widget.toolTip
        self.count += 1
        widget.click()

    def choose(self, selector, node) -> None:
        self.count += 1
        selector.setCurrentNode(node)


def test_from_an_open_ct_to_a_saved_dicom_seg_in_four_clicks_and_later_in_three(
    tasksHere, panel, ui, dicomCt, tmp_path, monkeypatch
) -> None:
    """No click for a folder, none for a section that was left open, and no second one for anything."""
    monkeypatch.setenv("HOME", str(tmp_path))
    with Quiet(ui.exportFolder):
        ui.exportFolder.setCurrentPath(ExportSection.rememberedFolder())
    panel.session.folder = ui.exportFolder.currentPath

    def segmentAndExport(hand: Clicks) -> int:
        hand(ui.segmentButton)
        wait(lambda: panel.settled)
        if ui.exportSection.collapsed:
            hand(ui.exportSection)
        wait(lambda: not panel.export.busy)
        hand(ui.dicomSegButton)
        wait(lambda: not panel.export.busy)
        return hand.count

    panel.exit()
    opened = Clicks()
    opened.count += 1  # the module in Slicer's menu
    panel.wake()
    assert ui.volumeSelector.currentNode() is dicomCt, "the only CT that is open"
    assert segmentAndExport(opened) == 4
    ui.volumeSelector.setCurrentNode(None)  # another patient was looked at
    again = Clicks()
    again.choose(ui.volumeSelector, dicomCt)
    assert segmentAndExport(again) == 3
    assert sorted(path.name for path in tmp_path.glob("*.dcm")) == ["pancreas-2.seg.dcm", "pancreas.seg.dcm"]


def test_before_the_first_export_the_folder_is_that_of_a_persons_documents(panel, ui, selected) -> None:
    run(panel)
    assert Path(ui.exportFolder.currentPath) in (Path.home() / "Documents", Path.home())
    assert ui.niftiButton.enabled, "no click for a folder"


def test_without_a_folder_the_buttons_say_so(panel, ui, selected) -> None:
    ui.exportFolder.currentPath = ""
    run(panel)
    for name in BUTTONS:
        assert getattr(ui, name).toolTip == "Choose a folder first."
        assert not getattr(ui, name).enabled


def test_nifti_holds_the_mask_on_the_cts_own_grid(panel, ui, selected, folder) -> None:
    run(panel)
    ui.niftiButton.click()
    image = nibabel.load(folder / "pancreas.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, mask(panel.session.parameters))
    assert ui.exportMessage.text == "Written: pancreas.nii.gz."


def test_nrrd_holds_the_segment_with_its_name(panel, ui, selected, folder) -> None:
    run(panel)
    ui.nrrdButton.click()
    image = sitk.ReadImage(str(folder / "pancreas.seg.nrrd"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), mask(panel.session.parameters))
    assert image.GetMetaData("Segment0_Name") == "Pancreas"


def test_stl_is_where_the_pancreas_is(panel, ui, headless, selected, folder) -> None:
    run(panel)
    ui.stlButton.click()
    model = headless.logics["Models"].AddModel(str(folder / "pancreas.stl"))
    bounds = np.zeros(6)
    model.GetRASBounds(bounds)
    middle = (bounds[::2] + bounds[1::2]) / 2
    parameters = panel.session.parameters
    box = Box.of_mask(mask(parameters))
    index = [(a + b - 1) / 2 for a, b in zip(box.start, box.stop, strict=True)]
    np.testing.assert_allclose(middle, lps_ras(aGeometry().to_world(index)), atol=1e-3)


def test_a_second_export_keeps_the_first(panel, ui, selected, folder) -> None:
    run(panel)
    ui.niftiButton.click()
    ui.niftiButton.click()
    assert sorted(p.name for p in folder.iterdir()) == ["pancreas-2.nii.gz", "pancreas.nii.gz"]


def test_dicom_seg_is_read_back_by_highdicom(fromDicom, ui, folder, series) -> None:
    assert ui.dicomSegButton.enabled, ui.dicomSegButton.toolTip
    click(fromDicom, ui.dicomSegButton)
    written = highdicom.seg.segread(folder / "pancreas.seg.dcm")
    description = written.get_segment_description(1)
    assert description.segmented_property_type.value == "15776009"
    assert description.algorithm_type.value == "AUTOMATIC"
    volume = written.get_volume(combine_segments=True)
    assert volume.array.sum() == mask(fromDicom.session.parameters).sum()


def anObject(path: Path, by: str) -> None:
    """A DICOM file that says little but who wrote it."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = pydicom.uid.SegmentationStorage, generate_uid()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    written = pydicom.dataset.FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
    written.SOPClassUID, written.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    written.Manufacturer = by
    written.save_as(path, enforce_file_format=True)


def writer(path: Path) -> str:
    """Who has written a DICOM file."""
    return pydicom.dcmread(path).Manufacturer


class Exporter:
    """Slicer's own exporter; it finds the voxels of a segment by the name of their array, as the real one does."""

    failure: Exception | None = None

    def __init__(self, segmentationNode) -> None:
        Exporter.last = self
        self.segmentation = segmentationNode.GetSegmentation()

    def export(self, folder, name, metadata, segmentIDs) -> bool:
        if Exporter.failure is not None:
            Path(folder, name).write_bytes(b"half an obj")
            raise Exporter.failure
        if not any(self._hasVoxels(identifier) for identifier in segmentIDs):
            raise RuntimeError("NoNonEmptySegmentsFoundError")
        anObject(Path(folder, name), by="Slicer")
        self.asked = (metadata, segmentIDs)
        return True

    def _hasVoxels(self, identifier) -> bool:
        image = self.segmentation.GetSegment(identifier).GetRepresentation("Binary labelmap")
        array = image.GetPointData().GetArray("ImageScalars")
        return array is not None and array.GetRange()[1] > 0

    def cleanup(self) -> None:
        self.cleaned = True


@pytest.fixture
def slicersPlugin(monkeypatch, fromDicom):
    module = ModuleType("DICOMSegmentationPlugin")
    module.DICOMSegmentationExporter = Exporter
    monkeypatch.setattr(Exporter, "failure", None)
    monkeypatch.setitem(sys.modules, "DICOMSegmentationPlugin", module)
    return slicer.dicomDatabase.inserted


def test_inside_slicer_its_own_exporter_writes_and_the_database_knows(slicersPlugin, fromDicom, ui, folder) -> None:
    click(fromDicom, ui.dicomSegButton)
    assert writer(folder / "pancreas.seg.dcm") == "Slicer"
    assert slicersPlugin == [str(folder / "pancreas.seg.dcm")]
    assert Exporter.last.asked == ({"SeriesDescription": "Pancreas"}, [fromDicom.session.parameters.segmentId])
    assert Exporter.last.cleaned


def test_slicers_exporter_finds_what_was_drawn_restored_or_read_from_an_old_scene(slicersPlugin, fromDicom, ui, folder):
    parameters = fromDicom.session.parameters
    edit(parameters)
    ui.restoreDraftButton.click()
    segment = parameters.segmentationNode.GetSegmentation().GetSegment(parameters.segmentId)
    segment.GetRepresentation("Binary labelmap").GetPointData().GetScalars().SetName("")
    click(fromDicom, ui.dicomSegButton)
    assert writer(folder / "pancreas.seg.dcm") == "Slicer"


def test_where_slicers_exporter_fails_the_engine_writes(slicersPlugin, fromDicom, ui, folder, monkeypatch) -> None:
    monkeypatch.setattr(Exporter, "failure", RuntimeError("itkimage2segimage failed"))
    click(fromDicom, ui.dicomSegButton)
    assert ui.exportMessage.text.startswith("Written: pancreas.seg.dcm.")
    written = highdicom.seg.segread(folder / "pancreas.seg.dcm")
    assert written.get_volume(combine_segments=True).array.sum() == mask(fromDicom.session.parameters).sum()
    assert Exporter.last.cleaned
    assert slicersPlugin == [str(folder / "pancreas.seg.dcm")]


def test_every_dicom_object_goes_into_the_database_of_its_ct(fromDicom, ui, folder) -> None:
    click(fromDicom, ui.rtstructButton)
    click(fromDicom, ui.dicomSegButton)
    assert slicer.dicomDatabase.inserted == [str(folder / f"pancreas.{kind}.dcm") for kind in ("rtstruct", "seg")]
    assert slicer.dicomDatabase.shown, "with its name in the browser"
    assert "database" not in ui.exportMessage.text, "all is well"


@pytest.mark.parametrize("way", ["says nothing", "raises"])
def test_a_database_that_does_not_take_the_file_loses_nothing(fromDicom, ui, folder, way, monkeypatch) -> None:
    def insert(path: str) -> None:
        raise RuntimeError("the database is locked")

    monkeypatch.setattr(slicer.dicomDatabase, "writable", False)
    if way == "raises":
        monkeypatch.setattr(slicer.dicomDatabase, "insert", insert)
    click(fromDicom, ui.rtstructButton)
    assert (folder / "pancreas.rtstruct.dcm").is_file()
    assert "could not be put into Slicer's DICOM database" in ui.exportMessage.text


def test_headers_are_read_once_and_never_on_the_main_thread(fromDicom, ui, folder, tasksHere, monkeypatch) -> None:
    """Those of 500 slices took four seconds, after every run."""
    monkeypatch.setattr("pancreasseg.export.preflight.read_series", lambda *_, **__: pytest.fail("read again"))
    assert tasksHere.started == ["series"]
    run(fromDicom)
    openSection(fromDicom)
    assert tasksHere.started == ["series"]
    assert ui.dicomSegButton.enabled


SLICES = 500


@pytest.fixture
def longCt(panel, scene, tmp_path, monkeypatch):
    """A CT of 500 slices in the DICOM database; each time a slice is opened on the main thread counts."""
    array = np.random.default_rng(4).integers(-150, 250, (SLICES, 16, 16), dtype=np.int16)
    folder = write_slices(tmp_path / "long", a_series(array, PixelSpacing=[8.0, 8.0]))
    node = VolumeNodes.addVolumeNode(scene, read_volume(folder), "Long CT")
    files = {f"long{n}": str(path) for n, path in enumerate(sorted(folder.iterdir()))}
    node.SetAttribute("DICOM.instanceUIDs", " ".join(files))
    database = SimpleNamespace(fileForInstance=files.__getitem__)
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    opened, original = [], io.open

    def watched(file, *arguments, **settings):
        if str(file).startswith(str(folder)):
            opened.append(file)
        return original(file, *arguments, **settings)

    for module in (io, builtins):
        monkeypatch.setattr(module, "open", watched)
    return node, opened


def test_no_slice_of_a_long_series_is_opened_in_slicer_itself(panel, ui, longCt, folder) -> None:
    """Reading 500 headers, twice, after every run: Slicer stood still for four seconds. A true task reads them here."""
    node, opened = longCt
    ui.volumeSelector.setCurrentNode(node)
    run(panel)
    openSection(panel)
    assert ui.dicomSegButton.enabled, ui.dicomSegButton.toolTip
    run(panel)
    openSection(panel)
    assert opened == []


def test_while_headers_are_read_the_buttons_say_so(tasksHere, panel, ui, dicomCt, folder, monkeypatch) -> None:
    held = [True]
    monkeypatch.setattr(TaskHere, "poll", lambda self: [] if held[0] else [self._answer])
    ui.volumeSelector.setCurrentNode(dicomCt)
    run(panel)
    ui.exportSection.collapsed = False
    assert ui.dicomSegButton.toolTip == "The headers of the DICOM series are being read."
    assert ui.niftiButton.enabled
    held[0] = False
    wait(lambda: not panel.export.busy)
    assert ui.dicomSegButton.enabled


def test_a_process_of_its_own_reads_the_headers_and_writes(panel, ui, dicomCt, folder, monkeypatch) -> None:
    monkeypatch.setattr("pydicom.dcmread", lambda *_, **__: pytest.fail("read on the main thread"))
    ui.volumeSelector.setCurrentNode(dicomCt)
    run(panel)
    openSection(panel)
    assert ui.rtstructButton.enabled, ui.rtstructButton.toolTip
    click(panel, ui.rtstructButton)
    assert ui.exportMessage.text.startswith("Written: pancreas.rtstruct.dcm.")
    assert (folder / "pancreas.rtstruct.dcm").stat().st_size > 1000


def test_a_writer_that_fails_is_a_sentence_and_the_buttons_come_back(fromDicom, ui, folder, monkeypatch) -> None:
    def fail(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pancreasseg.export.formats.export", fail)
    click(fromDicom, ui.rtstructButton)
    assert ui.exportMessage.text == "The disk is full. Free some space, or choose a folder on another disk."
    assert ui.rtstructButton.enabled


def test_the_panel_that_goes_away_while_a_file_is_written_ends_quietly(fromDicom, ui, folder, monkeypatch) -> None:
    ended = []
    monkeypatch.setattr(TaskHere, "end", lambda self: ended.append(self))
    ui.rtstructButton.click()
    fromDicom.export.close()
    assert len(ended) == 1


def test_slices_that_left_the_database_are_told(fromDicom, ui, folder, monkeypatch) -> None:
    monkeypatch.setattr(slicer.dicomDatabase, "fileForInstance", lambda identifier: "")
    openSection(fromDicom)
    assert "20 of the 20 slices of this CT are no longer in Slicer" in ui.preflightLabel.text
    assert not ui.dicomSegButton.enabled


def test_an_edited_segment_is_exported_as_semiautomatic(fromDicom, ui, folder) -> None:
    edit(fromDicom.session.parameters)
    click(fromDicom, ui.dicomSegButton)
    written = highdicom.seg.segread(folder / "pancreas.seg.dcm")
    assert written.get_segment_description(1).algorithm_type.value == "SEMIAUTOMATIC"


def test_rtstruct_is_read_back_by_rt_utils(fromDicom, ui, folder, series) -> None:
    parameters = fromDicom.session.parameters
    k, j, i = np.ogrid[:20, :32, :32]
    solid = ((k - 8) / 4) ** 2 + ((j - 13) / 6) ** 2 + ((i - 17) / 9) ** 2 < 1
    Segments.writeMask(solid, parameters.segmentationNode, parameters.segmentId, parameters.volumeNode)
    click(fromDicom, ui.rtstructButton)
    read = RTStructBuilder.create_from(str(series), str(folder / "pancreas.rtstruct.dcm"))
    assert read.get_roi_names() == ["Pancreas"]
    theirs = np.moveaxis(read.get_roi_mask_by_name("Pancreas"), -1, 0)
    overlap = 2 * (theirs & solid).sum() / (theirs.sum() + solid.sum())
    assert overlap > 0.85, "rt-utils fills contours half a voxel wider"


def test_a_ct_that_is_not_from_dicom_is_told_before_the_click(panel, ui, selected, folder) -> None:
    run(panel)
    assert ui.preflightLabel.isHidden()
    ui.exportSection.collapsed = False
    assert "not loaded from DICOM" in ui.preflightLabel.text
    assert not ui.dicomSegButton.enabled
    assert "not loaded from DICOM" in ui.dicomSegButton.toolTip
    assert ui.niftiButton.enabled


def test_a_slice_that_is_missing_on_disk_is_told_before_the_click(fromDicom, ui, folder, series) -> None:
    sorted(series.iterdir())[7].unlink()
    openSection(fromDicom)
    assert not ui.rtstructButton.enabled
    assert ui.preflightLabel.text


def test_a_volume_read_from_dicom_files_without_a_database_knows_them_too(scene, series) -> None:
    node = VolumeNodes.addVolumeNode(scene, read_volume(series), "CT")
    files = [str(path) for path in sorted(series.iterdir())]
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    for file in files:
        storage.AddFileName(file)
    storage.SetFileName(files[0])
    node.SetAndObserveStorageNodeID(storage.GetID())
    assert Dicom.filesOf(node) == tuple(files)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_a_sentence(panel, ui, selected, folder) -> None:
    run(panel)
    folder.chmod(0o500)
    ui.niftiButton.click()
    assert ui.exportMessage.text == "The export folder cannot be written. Choose another one."


@pytest.mark.parametrize("name", [n for n in BUTTONS if n not in ("dicomSegButton", "rtstructButton")])
def test_a_folder_that_cannot_be_written_is_a_sentence_and_leaves_nothing(
    panel, ui, selected, folder, monkeypatch, name
) -> None:
    run(panel)
    monkeypatch.setattr(os, "access", lambda *_: False)
    getattr(ui, name).click()
    assert ui.exportMessage.text == "The export folder cannot be written. Choose another one."
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["dicomSegButton", "rtstructButton"])
def test_dicom_in_a_folder_that_cannot_be_written_is_the_same_sentence(
    fromDicom, ui, folder, monkeypatch, name
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    click(fromDicom, getattr(ui, name))
    assert ui.exportMessage.text == "The export folder cannot be written. Choose another one."
    assert list(folder.iterdir()) == []


def test_a_folder_that_is_gone_is_a_sentence(panel, ui, selected, folder) -> None:
    run(panel)
    folder.rmdir()
    ui.nrrdButton.click()
    assert ui.exportMessage.text == "The export folder does not exist. Choose another one."


def test_a_margin_in_mm_becomes_a_segment(panel, ui, selected) -> None:
    run(panel)
    ui.insideBodyCheckBox.checked = False
    ui.marginXSpinBox.value = 6.0
    assert ui.marginZSpinBox.value == 6.0
    ui.addMarginButton.click()
    segmentation = panel.session.parameters.segmentationNode.GetSegmentation()
    assert [segmentation.GetNthSegment(n).GetName() for n in range(2)] == ["Pancreas", "Pancreas + 6 mm"]
    node = panel.session.parameters.segmentationNode
    grown = Segments.readMask(node, segmentation.GetNthSegmentID(1), selected)
    ours = mask(panel.session.parameters)
    distance = sitk.GetArrayFromImage(
        sitk.SignedMaurerDistanceMap(image(ours), insideIsPositive=False, squaredDistance=False, useImageSpacing=True)
    )
    np.testing.assert_array_equal(grown != 0, distance <= 6.0 + 1e-4)


def nrrd_tags(file: Path) -> dict[str, str]:
    tags = sitk.ReadImage(str(file)).GetMetaData("Segment0_Tags")
    return dict(tag.split(":", 1) for tag in tags.split("|") if tag)


def test_a_segment_drawn_by_hand_is_exported_as_manual(panel, ui, scene, selected, folder) -> None:
    run(panel)
    scene.RemoveNode(Segments.draftOf(panel.session.parameters.segmentationNode))
    ui.nrrdButton.click()
    assert nrrd_tags(folder / "pancreas.seg.nrrd")["DICOM.SegmentAlgorithmType"] == "MANUAL"


def test_an_export_names_the_pipeline_and_the_model_that_made_it(panel, ui, selected, folder) -> None:
    run(panel)
    parameters = panel.session.parameters
    how = {**parameters.result["provenance"], "models": [{"name": "tiny", "version": "2.1", "sha256": ""}]}
    parameters.result = {**parameters.result, "provenance": {**how, "pipeline": "two-stage", "version": "0.1.0"}}
    ui.nrrdButton.click()
    tags = nrrd_tags(folder / "pancreas.seg.nrrd")
    assert tags["DICOM.SegmentAlgorithmName"] == "PancreasSeg two-stage tiny 2.1 0.1.0"
    assert tags["DICOM.SegmentAlgorithmType"] == "AUTOMATIC"


def test_margins_are_exported_with_the_pancreas_in_one_dicom_object(fromDicom, ui, folder) -> None:
    ui.marginXSpinBox.value = 4.0
    ui.addMarginButton.click()
    click(fromDicom, ui.dicomSegButton)
    written = highdicom.seg.segread(folder / "pancreas.seg.dcm")
    assert [written.get_segment_description(n).segment_label for n in (1, 2)] == ["Pancreas", "Pancreas + 4 mm"]
    description = written.get_segment_description(2)
    assert description.segmented_property_type.value == "margin"
    assert description.algorithm_type.value == "AUTOMATIC", "as the pancreas that it was grown from"
    array = written.get_volume(combine_segments=False).array
    assert array[..., 1].sum() > array[..., 0].sum() == mask(fromDicom.session.parameters).sum()
    segmentation = fromDicom.session.parameters.segmentationNode.GetSegmentation()
    assert "99PANCREASSEG^margin" in segmentation.GetNthSegment(1).GetTerminology()


def test_margins_are_files_of_their_own_in_the_other_formats_and_earlier_exports_stay(
    panel, ui, selected, folder
) -> None:
    run(panel)
    ui.niftiButton.click()
    ui.insideBodyCheckBox.checked = False
    ui.addMarginButton.click()
    ui.niftiButton.click()
    ui.niftiButton.click()
    assert sorted(path.name for path in folder.iterdir()) == [
        "pancreas-2-Pancreas-plus-5-mm.nii.gz",
        "pancreas-2-Pancreas.nii.gz",
        "pancreas-3-Pancreas-plus-5-mm.nii.gz",
        "pancreas-3-Pancreas.nii.gz",
        "pancreas.nii.gz",
    ]
    assert ui.exportMessage.text == "Written: pancreas-3-Pancreas.nii.gz, pancreas-3-Pancreas-plus-5-mm.nii.gz."


def test_a_margin_of_an_earlier_state_of_the_pancreas_is_told(panel, ui, selected, folder) -> None:
    run(panel)
    ui.addMarginButton.click()
    ui.niftiButton.click()
    assert "made before" not in ui.exportMessage.text
    edit(panel.session.parameters)
    ui.exportSection.collapsed = False
    assert "was made before the pancreas was last changed" in ui.preflightLabel.text
    ui.niftiButton.click()
    assert "remove it and add it again" in ui.exportMessage.text


def test_two_margins_of_one_name_are_a_sentence(panel, ui, selected, folder) -> None:
    run(panel)
    ui.addMarginButton.click()
    ui.addMarginButton.click()
    ui.nrrdButton.click()
    assert ui.exportMessage.text == "The margin 'Pancreas + 5 mm' is there twice. Leave one of them out."
    assert list(folder.iterdir()) == []


def test_slicers_exporter_gets_the_margins_and_a_hand_drawn_segment_is_manual(
    slicersPlugin, fromDicom, ui, scene, folder
) -> None:
    ui.addMarginButton.click()
    parameters = fromDicom.session.parameters
    segmentation = parameters.segmentationNode.GetSegmentation()
    scene.RemoveNode(Segments.draftOf(parameters.segmentationNode))
    click(fromDicom, ui.dicomSegButton)
    assert Exporter.last.asked[1] == [parameters.segmentId, segmentation.GetNthSegmentID(1)]
    kind = vtk.mutable("")
    segmentation.GetSegment(parameters.segmentId).GetTag("DICOM.SegmentAlgorithmType", kind)
    assert kind.get() == "MANUAL"


def test_undo_takes_the_margin_away_again(panel, ui, selected) -> None:
    run(panel)
    ui.addMarginButton.click()
    segmentation = panel.session.parameters.segmentationNode.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 2
    ui.segmentEditor.undo()
    assert segmentation.GetNumberOfSegments() == 1


def image(array: np.ndarray) -> sitk.Image:
    result = sitk.GetImageFromArray(array)
    result.SetSpacing(aGeometry().spacing)
    return result


def test_three_margins_grow_by_their_own_mm(panel, ui, selected) -> None:
    run(panel)
    ui.insideBodyCheckBox.checked = False
    assert not ui.marginYSpinBox.enabled
    ui.isotropicCheckBox.checked = False
    assert ui.marginYSpinBox.enabled
    ui.marginXSpinBox.value, ui.marginYSpinBox.value, ui.marginZSpinBox.value = 0.0, 0.0, 10.0
    ui.addMarginButton.click()
    assert "Pancreas + 0/0/10 mm" in ui.exportMessage.text
    node = panel.session.parameters.segmentationNode
    grown = Segments.readMask(node, node.GetSegmentation().GetNthSegmentID(1), selected)
    ours = mask(panel.session.parameters)
    columns = grown.any(axis=0)
    np.testing.assert_array_equal(columns, ours.any(axis=0))
    assert grown.sum() > ours.sum()


def test_a_margin_is_clipped_by_the_body(panel, ui, scene) -> None:
    """Air from column 12 on: the margin stops at the skin."""
    ct = aCt(aGeometry())
    ct.array[:] = np.where(ct.array > 150, 160, 40)
    ct.array[:, :, 18:] = -1000
    node = VolumeNodes.addVolumeNode(scene, ct, "Slim")
    ui.volumeSelector.setCurrentNode(node)
    run(panel)
    ui.marginXSpinBox.value = 15.0
    ui.addMarginButton.click()
    segmentation = panel.session.parameters.segmentationNode
    grown = Segments.readMask(segmentation, segmentation.GetSegmentation().GetNthSegmentID(1), node)
    assert grown[:, :, 17].any()
    assert not grown[:, :, 19:].any()


def another(module, client, dialogs):
    """The panel of the next start of Slicer."""
    from Testing.helpers.panel import aWidget

    from PancreasSegLib.Panel.Panel import Panel
    from PancreasSegLib.Work.Workflow import Workflow

    widget = aWidget()
    return Panel(slicer.util.childWidgetVariables(widget), Workflow(client), sys.executable, dialogs), widget


def test_the_folder_is_remembered(panel, ui, folder, module, client, dialogs) -> None:
    ui.exportFolder.currentPath = str(folder / "half a na")  # typed on the way to another one
    again, widget = another(module, client, dialogs)
    assert again.ui.exportFolder.currentPath == str(folder)
    again.close()
    remove(widget)


def test_sections_stay_as_a_person_left_them(panel, ui, module, client, dialogs) -> None:
    assert not ui.statisticsSection.collapsed
    assert ui.exportSection.collapsed
    ui.statisticsSection.collapsed = True
    ui.exportSection.collapsed = False
    again, widget = another(module, client, dialogs)
    assert again.ui.statisticsSection.collapsed
    assert not again.ui.exportSection.collapsed
    assert not again.ui.inputSection.collapsed
    again.close()
    remove(widget)


SCREEN_PIXELS = 720  # of a small laptop


def test_export_is_at_most_two_screens_below_the_top(panel, ui, selected) -> None:
    """Also with the card that recommends a model, with numbers, and with Correct folded up as it comes."""
    run(panel)
    ui.firstRunGroup.setVisible(True)
    ui.firstRunText.text = "<br>".join(["A line of the card"] * 10)
    panel.widget.resize(500, panel.widget.sizeHint().height())
    panel.widget.show()
    wait(lambda: ui.exportSection.height > 0)
    assert ui.exportSection.mapTo(panel.widget, QtCore.QPoint(0, 0)).y() < 2 * SCREEN_PIXELS
