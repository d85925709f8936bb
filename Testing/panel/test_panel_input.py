"""Sample data, and what the module registers with Slicer."""

import sys
from types import ModuleType

import numpy as np
import pytest
import slicer
from PySide6 import QtCore
from Testing.helpers.builders import aCt, aGeometry
from Testing.helpers.panel import wait

from pancreasseg.core.errors import RunError
from PancreasSegLib.Scene import VolumeNodes


@pytest.fixture
def SampleData(monkeypatch, scene, ui):
    """Slicer's module, which here adds a node at once."""
    module = ModuleType("SampleData")

    class SampleDataLogic:
        """As the real one: what goes wrong is logged, and the list of nodes is empty."""

        reachable = True

        def __init__(self, logMessage=None) -> None:
            self.logMessage = logMessage or (lambda message, level=None: None)

        def downloadSamples(self, name):
            module.asked = name
            drawn = []
            QtCore.QTimer.singleShot(0, lambda: drawn.append(module.label.text))
            self.logMessage("<b>Downloading</b> <i>Panoramix-cropped.nrrd</i> ... ", 20)
            module.shown = drawn  # by an event that Slicer has dealt with while it waits for the network
            if not self.reachable:
                return []
            return [VolumeNodes.addVolumeNode(scene, aCt(aGeometry()), "Panoramix-cropped")]

        def downloadSample(self, name):
            return self.downloadSamples(name)[0]

    module.SampleDataLogic = SampleDataLogic
    module.label = ui.inputMessage
    monkeypatch.setitem(sys.modules, "SampleData", module)
    return module


def test_a_real_ct_is_downloaded_by_slicers_own_module_and_selected(ui, SampleData) -> None:
    ui.sampleButton.click()
    assert SampleData.asked == "CTAAbdomenPanoramix"
    assert SampleData.shown == ["Downloading Panoramix-cropped.nrrd ..."]
    assert ui.volumeSelector.currentNode().GetName() == "Panoramix-cropped"
    assert ui.segmentButton.enabled
    assert ui.inputMessage.isHidden()


@pytest.mark.parametrize("way", ["not reachable", "raises"])
def test_a_download_that_fails_is_a_sentence(ui, SampleData, way, monkeypatch) -> None:
    def fail(*_arguments):
        raise OSError("no route")

    if way == "raises":
        monkeypatch.setattr(SampleData.SampleDataLogic, "downloadSamples", fail)
    SampleData.SampleDataLogic.reachable = False
    ui.sampleButton.click()
    assert ui.inputMessage.text.startswith("The sample CT could not be downloaded. Check the network connection")


def test_without_the_sample_data_module_a_sentence_says_so(ui, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "SampleData", None)
    ui.sampleButton.click()
    assert "not available" in ui.inputMessage.text


class FakeTask:
    def __init__(self, arguments, python) -> None:
        self.file, self.news, self.ended = arguments[2], [], False
        FakeTask.last = self

    def poll(self):
        if self.news and isinstance(self.news[0], Exception):
            raise self.news[0]
        return self.news

    def end(self) -> None:
        self.ended = True


@pytest.fixture
def task(monkeypatch):
    monkeypatch.setattr("PancreasSegLib.Panel.InputSection.Task", FakeTask)
    return FakeTask


def test_a_phantom_is_made_beside_slicer_and_selected(panel, ui, task, monkeypatch) -> None:
    monkeypatch.setattr(slicer.app, "manager", None)
    ui.phantomButton.click()
    assert not ui.phantomButton.enabled
    assert "being made" in ui.phantomButton.toolTip
    np.save(task.last.file, aCt(aGeometry()).array)
    task.last.news = [{"geometry": aGeometry().as_dict()}]
    wait(lambda: ui.volumeSelector.currentNode() is not None)
    assert ui.volumeSelector.currentNode().GetName() == "Phantom CT"
    assert ui.phantomButton.enabled
    assert ui.inputMessage.isHidden()


def test_a_phantom_that_cannot_be_made_is_a_sentence(panel, ui, task) -> None:
    ui.phantomButton.click()
    task.last.news = [RunError("disk-full", "The disk is full.", "")]
    wait(lambda: ui.inputMessage.text == "The disk is full.")
    assert ui.phantomButton.enabled


def test_closing_the_panel_ends_the_making_of_a_phantom(panel, ui, task) -> None:
    ui.phantomButton.click()
    panel.input.close()
    assert task.last.ended


def test_a_ct_that_was_there_before_the_panel_is_selected(scene, aVolumeNode, panel) -> None:
    panel.ui.volumeSelector.setCurrentNode(aVolumeNode)
    assert panel.session.volumeNode is aVolumeNode


def test_intermediate_volumes_of_the_module_are_not_offered(panel, ui, scene, aVolumeNode) -> None:
    hidden = VolumeNodes.addVolumeNode(scene, aCt(aGeometry()), "disagreement")
    hidden.SetHideFromEditors(True)
    ui.volumeSelector.setMRMLScene(scene)
    assert ui.volumeSelector.nodeCount() == 1
