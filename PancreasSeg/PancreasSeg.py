"""The PancreasSeg module of 3D Slicer: finds and segments the pancreas in abdominal CT."""

import logging
import shutil
import sys
import tempfile
import time
import unittest
from pathlib import Path

import numpy as np
import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

# How long the self-test waits for a run; a laptop without a GPU needs some seconds.
PATIENCE_SECONDS = 180

# The model that comes along was trained on patients: on the phantom it shows that everything works together, no more.
OVERLAP = 0.5


class PancreasSeg(ScriptedLoadableModule):
    """What Slicer shows of the module in its menus and help."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("PancreasSeg")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = []
        parent.contributors = ["The PancreasSeg contributors"]
        parent.helpText = _(
            "Select a contrast-enhanced abdominal CT and click Segment pancreas: the module finds the pancreas, puts a "
            "box around it and segments it. Drag the box or correct the segment, then read its volume. For research: "
            "every result must be checked by a physician."
        )
        parent.acknowledgementText = _(
            "The default pipeline follows Zhao et al., Fully Automated Pancreas Segmentation with Two-stage 3D "
            "Convolutional Neural Networks, MICCAI 2019."
        )
        # Other modules are there only when all have been loaded.
        slicer.app.connect("startupCompleted()", self.registerWithOtherModules)

    @staticmethod
    def registerWithOtherModules():
        """Put the numbers into Slicer's Segment Statistics and the phantom into its Sample Data, where those are."""
        from PancreasSegLib.Plugins import SegmentStatistics
        from PancreasSegLib.Work import SampleCts

        for module in (SampleCts, SegmentStatistics):
            try:
                module.register()
            except ImportError:
                logging.info("PancreasSeg: %s has nothing to register with", module.__name__)


class PancreasSegWidget(ScriptedLoadableModuleWidget):
    """The panel; its sections are in PancreasSegLib.Panel.

    Attributes:
        logic: a PancreasSegLogic.
        panel: a PancreasSegLib.Panel.Panel.Panel.
    """

    def __init__(self, parent=None):
        self.logic = None
        self.panel = None
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def setup(self):
        """Build the panel."""
        from PancreasSegLib.Panel.Panel import Panel
        from PancreasSegLib.Work import SlicerVersion

        ScriptedLoadableModuleWidget.setup(self)
        tooOld = SlicerVersion.refusal()
        if tooOld:
            label = qt.QLabel(tooOld)
            label.setWordWrap(True)
            self.layout.addWidget(label)
            self.layout.addStretch(1)
            return
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/PancreasSeg.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = PancreasSegLogic()
        self.panel = Panel(self.ui, self.logic.workflow, self.logic.python)
        if getattr(self.parent, "isEntered", False):
            self.panel.enter()  # the module was reloaded while it was shown; Slicer does not say so again

    def enter(self):
        """The module is shown."""
        if self.panel is not None:
            self.panel.enter()

    def exit(self):
        """Another module is shown."""
        if self.panel is not None:
            self.panel.exit()

    def cleanup(self):
        """The module goes away: end the worker process."""
        if self.panel is not None:
            self.panel.close()


class PancreasSegLogic(ScriptedLoadableModuleLogic):
    """What scripts call; the work is done by PancreasSegLib and, in a process of its own, by the engine.

    Attributes:
        workflow: see PancreasSegLib.Work.Workflow.
        python: the Python that runs the worker.
    """

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        from pancreasseg.worker.client import WorkerClient
        from PancreasSegLib.Work.Workflow import Workflow

        # Slicer's own executable is no Python; PythonSlicer is, with the same packages.
        self.python = shutil.which("PythonSlicer") or sys.executable
        self.workflow = Workflow(WorkerClient([self.python, "-m", "pancreasseg.worker"]))

    def segment(self, volumeNode, inRoi=False, replaceEdited=False):
        """Segment the pancreas in a CT and wait for the result: an Outcome with its nodes, numbers and findings."""
        return self.workflow.run(volumeNode, inRoi=inRoi, replaceEdited=replaceEdited)

    def locate(self, volumeNode):
        """Put the ROI around the pancreas of a CT and wait for it."""
        return self.workflow.locate(volumeNode)

    def refusal(self, volumeNode):
        """Why this node cannot be segmented, in a sentence; None when it can."""
        from pancreasseg.core.errors import InputError
        from PancreasSegLib.Scene.VolumeNodes import checkVolumeNode
        from PancreasSegLib.Work import Dependencies, SlicerVersion

        if SlicerVersion.refusal():
            return SlicerVersion.refusal()
        missing = Dependencies.missing()
        if missing:
            return _("Python packages are missing: {names}.").format(names=", ".join(missing))
        try:
            checkVolumeNode(volumeNode)
        except InputError as error:
            return str(error)
        return None

    def summary(self, outcome):
        """One line about a result: volume and findings."""
        from PancreasSegLib.Scene.Tables import summaryOfMeasurements

        lines = [summaryOfMeasurements(outcome.measurements), *(finding.sentence for finding in outcome.findings)]
        return "\n".join(lines)

    def shutdown(self):
        """End the worker process."""
        self.workflow.shutdown()


class PancreasSegTest(ScriptedLoadableModuleTest):
    """The self-test inside Slicer: the whole workflow on a phantom whose pancreas is known."""

    def setUp(self):
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self):
        """Run all tests."""
        for test in (
            self.test_the_panel_is_built_whatever_is_installed,
            self.test_the_phantoms_pancreas_becomes_a_segment_in_its_place,
            self.test_the_panel_segments_measures_and_exports,
            self.test_what_is_no_ct_is_refused,
        ):
            self.setUp()
            try:
                test()
            except unittest.SkipTest as skipped:
                self.delayDisplay(f"Skipped: {skipped}")

    def _needPackages(self):
        """Skip a test that segments where Python packages are missing, as on machines that only build extensions."""
        from PancreasSegLib.Work import Dependencies

        missing = Dependencies.missing()
        if missing:
            self.skipTest(f"Python packages are missing: {', '.join(missing)}")

    def test_the_panel_is_built_whatever_is_installed(self):
        """The panel is there before any package is, and says what is missing."""
        from PancreasSegLib.Work import Dependencies

        ui = slicer.modules.pancreasseg.widgetRepresentation().self().ui
        self.assertTrue(ui.segmentButton.text)
        for name in Dependencies.missing():
            self.assertIn(name, ui.dependenciesLabel.text)

    def test_the_phantoms_pancreas_becomes_a_segment_in_its_place(self):
        """Segment a phantom CT under a transform and compare with its truth."""
        self._needPackages()
        phantom, volumeNode = self._phantom()
        transformNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Position")
        matrix = vtk.vtkMatrix4x4()
        matrix.SetElement(0, 3, 25.0)
        transformNode.SetMatrixTransformToParent(matrix)
        volumeNode.SetAndObserveTransformNodeID(transformNode.GetID())
        self.delayDisplay("Segmenting")
        logic = PancreasSegLogic()
        try:
            outcome = logic.segment(volumeNode)
        finally:
            logic.shutdown()
        parameters = outcome.parameters
        self.assertGreater(self._overlap(parameters, phantom), OVERLAP)
        self.assertEqual(parameters.segmentationNode.GetTransformNodeID(), transformNode.GetID())
        self.assertEqual(parameters.roiNode.GetTransformNodeID(), transformNode.GetID())
        self.delayDisplay(f"Done: {logic.summary(outcome)}")

    def test_the_panel_segments_measures_and_exports(self):
        """Click through the panel as a person does: segment, drag the box, segment again, undo, measure, export."""
        self._needPackages()
        phantom, volumeNode = self._phantom()
        representation = slicer.modules.pancreasseg.widgetRepresentation()
        shown = representation.isEntered
        widget = representation.self()
        panel, ui = widget.panel, widget.ui
        folderBefore = ui.exportFolder.currentPath
        widget.enter()
        try:
            ui.volumeSelector.setCurrentNode(volumeNode)
            self._click(panel, ui.segmentButton)
            parameters = panel.session.parameters
            self.assertGreater(self._overlap(parameters, phantom), OVERLAP, ui.segmentMessage.text)
            self.assertGreater(ui.statisticsTable.rowCount, 20)
            self.delayDisplay("Moving the box")
            parameters.roiNode.SetSize([1.1 * side for side in parameters.roiNode.GetSize()])
            self._waitFor(lambda: ui.staleLabel.visible or ui.segmentButton.text.startswith("Segment again"))
            self._click(panel, ui.segmentButton)
            self.assertGreater(self._overlap(parameters, phantom), OVERLAP, ui.segmentMessage.text)
            with tempfile.TemporaryDirectory() as folder:
                ui.exportFolder.currentPath = folder
                ui.nrrdButton.click()
                self.assertTrue(Path(folder, "pancreas.seg.nrrd").is_file(), ui.exportMessage.text)
        finally:
            ui.exportFolder.currentPath = folderBefore
            if not shown:  # else it stays in use, as after Reload and Test
                widget.exit()

    def _phantom(self):
        """A phantom CT with its truth, and its volume node."""
        from pancreasseg.phantom import make_phantom
        from PancreasSegLib.Scene import VolumeNodes

        self.delayDisplay("Making a phantom CT")
        phantom = make_phantom(1, spacing=(2.0, 2.0, 4.0), step=2.0)
        return phantom, VolumeNodes.addPhantomNode(slicer.mrmlScene, phantom.volume, "Phantom")

    def _overlap(self, parameters, phantom):
        """DSC of the segment with the phantom's own pancreas."""
        from pancreasseg.phantom import PANCREAS
        from PancreasSegLib.Scene import Segments

        mask = Segments.readMask(parameters.segmentationNode, parameters.segmentId, parameters.volumeNode)
        truth = phantom.labels == PANCREAS
        return 2 * np.count_nonzero(truth & (mask != 0)) / (np.count_nonzero(truth) + np.count_nonzero(mask))

    def _click(self, panel, button):
        """Click a button that starts a run, and wait for its end."""
        self.delayDisplay(button.text)
        button.click()
        self._waitFor(lambda: panel.settled)

    def _waitFor(self, condition):
        """Let Slicer work until something holds."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            self.assertLess(time.monotonic(), end, "it did not happen in time")
            slicer.app.processEvents()

    def test_what_is_no_ct_is_refused(self):
        """A labelmap gets a sentence, not a run."""
        self._needPackages()
        labelmapNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
        self.assertIn("labelmap", PancreasSegLogic().refusal(labelmapNode))
