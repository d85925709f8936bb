"""What the Slicer application does at start-up, as far as a scene needs it: logics, caches, `slicer.app`."""

from __future__ import annotations

import functools
import os
import tempfile
from types import SimpleNamespace

import slicer
import vtk
from Testing.slicer_boot.messages import VtkMessages

# The logics of the core modules, by the name the application registers them under. Terminologies is left out: its
# dictionaries are files of the application, and segments carry their terminology as a plain string.
MODULE_LOGICS = {
    "Volumes": "vtkSlicerVolumesLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
    "Models": "vtkSlicerModelsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Units": "vtkSlicerUnitsLogic",
    "Data": "vtkSlicerDataModuleLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
}


class ModuleStandIn:
    """What ``slicer.modules.<name>`` is to scripts: the way to a logic."""

    def __init__(self, logic: object) -> None:
        self._logic = logic

    def logic(self) -> object:
        """The module's VTK logic."""
        return self._logic


class ApplicationStandIn:
    """The part of ``slicer.app`` (qSlicerApplication) that works without Qt."""

    applicationName = "Slicer"
    majorVersion = 5
    minorVersion = 13

    def __init__(self, applicationLogic: object, temporaryPath: str) -> None:
        self._applicationLogic = applicationLogic
        self.temporaryPath = temporaryPath

    def applicationLogic(self) -> object:
        """The vtkSlicerApplicationLogic."""
        return self._applicationLogic

    def mrmlScene(self) -> object:
        """The one scene of the application."""
        return self._applicationLogic.GetMRMLScene()

    def testingEnabled(self) -> bool:
        """True, as in Slicer started with ``--testing``."""
        return True

    def layoutManager(self) -> None:
        """None: there is no main window."""

    def startupEnvironment(self) -> dict[str, str]:
        """The environment from before the launcher changed it."""
        return dict(os.environ)


class HeadlessSlicer:
    """The scene with everything around it that MRML needs to load, show and save.

    Attributes:
        scene: the vtkMRMLScene, also ``slicer.mrmlScene``.
        applicationLogic: the vtkSlicerApplicationLogic.
        logics: module logics by module name.
        messages: errors and warnings that VTK wrote since the last `clear`.
    """

    def __init__(self) -> None:
        self.messages = VtkMessages()
        self.scene = slicer.vtkMRMLScene()
        self._temporary = tempfile.TemporaryDirectory(prefix="slicer-")
        self._prepareFiles()
        self._prepareLogics()
        self._keepSubjectHierarchy()
        slicer.mrmlScene = self.scene
        slicer.app = ApplicationStandIn(self.applicationLogic, self._temporary.name)
        slicer.modules = SimpleNamespace(**{name.lower(): ModuleStandIn(it) for name, it in self.logics.items()})

    def _prepareFiles(self) -> None:
        """Without a cache manager and a data manager a scene writes no .mrb."""
        self._cacheManager = slicer.vtkCacheManager()
        self._cacheManager.SetRemoteCacheDirectory(self._temporary.name)
        self._cacheManager.SetMRMLScene(self.scene)
        self._dataManager = slicer.vtkDataIOManager()
        self._dataManager.SetCacheManager(self._cacheManager)
        self.scene.SetCacheManager(self._cacheManager)
        self.scene.SetDataIOManager(self._dataManager)

    def _prepareLogics(self) -> None:
        application = self.applicationLogic = slicer.vtkSlicerApplicationLogic()
        application.SetTemporaryPath(self._temporary.name)
        application.SetMRMLScene(self.scene)
        application.SetSliceLogics(vtk.vtkCollection())
        application.SetViewLogics(vtk.vtkCollection())
        colors = application.GetColorLogic()
        colors.SetMRMLScene(self.scene)
        colors.AddDefaultColorNodes()
        application.SetModuleLogic("Colors", colors)
        self.logics = {"Colors": colors}
        for name, className in MODULE_LOGICS.items():
            logic = getattr(slicer, className)()
            logic.SetMRMLScene(self.scene)
            logic.SetMRMLApplicationLogic(application)
            application.SetModuleLogic(name, logic)
            self.logics[name] = logic
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self.scene.AddNode(crosshair)

    def _keepSubjectHierarchy(self) -> None:
        """Remove the items of removed nodes, as the application's plugin logic does."""

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def forget(scene: object, event: str, node: object) -> None:
            hierarchy = scene.GetSubjectHierarchyNode()
            if hierarchy is not None and node is not hierarchy:
                item = hierarchy.GetItemByDataNode(node)
                if item:
                    hierarchy.RemoveItem(item, False, False)

        self.scene.AddObserver(self.scene.NodeAboutToBeRemovedEvent, forget)

    def clear(self) -> None:
        """Close the scene, as File > Close Scene does, and forget earlier messages."""
        self.scene.Clear(False)
        self.messages.clear()


@functools.cache
def boot() -> HeadlessSlicer:
    """The one headless Slicer of this process; the first call takes about half a second."""
    return HeadlessSlicer()
