"""Slicer's own slice and 3D views, off screen.

    python -m Testing.slicer_boot.views scene.mrb views.png

draws a saved scene: three slices through the middle of the first segmentation, and its surface. It is a process of its
own because VTK ends the process where no off-screen rendering is to be had.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import slicer
import vtk
import vtkmodules.vtkInteractionStyle
import vtkmodules.vtkRenderingFreeType
import vtkmodules.vtkRenderingOpenGL2  # noqa: F401 - registers the renderer
from Testing.slicer_boot.application import HeadlessSlicer, boot
from vtk.util.numpy_support import vtk_to_numpy

DRAG_STEPS = 12

SLICE_MANAGERS = (
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
)
THREED_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
)


class View:
    """A render window and the displayable managers that fill it.

    Args:
        size: pixels.
        screen: the interactor of a window that is on a screen; without it the window has no screen.

    Attributes:
        window, renderer, interactor: the VTK objects; simulated mouse events go to the interactor.
    """

    def __init__(self, size: tuple[int, int], screen: vtk.vtkRenderWindowInteractor | None = None) -> None:
        self.size = size
        if screen is None:
            self.window = vtk.vtkRenderWindow()
            self.window.SetOffScreenRendering(1)
            self.window.SetSize(*size)
            self.interactor = vtk.vtkRenderWindowInteractor()
            self.interactor.SetRenderWindow(self.window)
        else:
            self.window = screen.GetRenderWindow()
            self.interactor = screen
        self.window.SetMultiSamples(0)
        self.renderer = vtk.vtkRenderer()
        self.window.AddRenderer(self.renderer)
        self.interactor.SetInteractorStyle(None)
        self.interactor.Initialize()

    def addManagers(self, factory: object, application: object, names: tuple[str, ...], node: object) -> None:
        """Let Slicer's displayable managers draw what ``node``'s view shows."""
        factory.SetMRMLApplicationLogic(application)
        for name in names:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self.managers = slicer.vtkMRMLDisplayableManagerGroup()
        self.managers.SetRenderer(self.renderer)
        self.managers.Initialize(factory, self.renderer)
        self.managers.SetMRMLDisplayableNode(node)

    def takeMouse(self, style: object) -> None:
        """Let one of Slicer's interactor styles hand the mouse to the displayable managers."""
        style.SetDisplayableManagers(self.managers)
        self.interactor.SetInteractorStyle(vtk.vtkInteractorStyleUser())
        style.SetInteractor(self.interactor)
        self._style = style

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the left button on one pixel, move to another bit by bit, as a hand does, and release it there."""
        path = np.linspace(start, end, DRAG_STEPS + 1).round().astype(int)
        self._mouse("MouseMoveEvent", path[0])  # what lies under the mouse becomes active before it can be grabbed
        self._mouse("LeftButtonPressEvent", path[0])
        for pixel in path[1:]:
            self._mouse("MouseMoveEvent", pixel)
        self._mouse("LeftButtonReleaseEvent", path[-1])

    def _mouse(self, event: str, pixel: np.ndarray) -> None:
        self.interactor.SetEventInformation(int(pixel[0]), int(pixel[1]), 0, 0, chr(0), 0, None)
        self.interactor.InvokeEvent(event)

    def picture(self) -> np.ndarray:
        """What the view shows: uint8 RGB, shape (height, width, 3), top row first."""
        self.window.Render()
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(self.window)
        grabber.ReadFrontBufferOff()
        grabber.Update()
        image = grabber.GetOutput()
        width, height, _ = image.GetDimensions()
        return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3]


class SliceView(View):
    """One of the three slice views.

    Args:
        headless: the scene and its logics.
        name: "Red", "Green", "Yellow".
        orientation: "Axial", "Coronal", "Sagittal".
        size: pixels.
        screen: as for `View`.
    """

    def __init__(
        self,
        headless: HeadlessSlicer,
        name: str,
        orientation: str,
        size: tuple[int, int] = (640, 480),
        screen: vtk.vtkRenderWindowInteractor | None = None,
    ) -> None:
        super().__init__(size, screen)
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(headless.applicationLogic)
        headless.applicationLogic.GetSliceLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(headless.scene)
        self.node = self.logic.AddSliceNode(name)
        self.node.SetOrientation(orientation)
        # The slice image goes in before the displayable managers, or translucent fills would hide it.
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._blank = vtk.vtkImageData()
        self._blank.SetDimensions(1, 1, 1)
        self._blank.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 4)
        self._mapper.SetInputData(self._blank)
        actor = vtk.vtkActor2D()
        actor.SetMapper(self._mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(actor)
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        self.addManagers(factory, headless.applicationLogic, SLICE_MANAGERS, self.node)

    def show(self, volumeNode: object, point: tuple[float, float, float]) -> None:
        """Show the slice of a volume through a point (RAS mm of the world)."""
        self.logic.GetSliceCompositeNode().SetBackgroundVolumeID(volumeNode.GetID())
        self.logic.ResizeSliceNode(*self.size)
        self.logic.FitSliceToBackground()
        self.node.JumpSliceByOffsetting(*point)
        self.followLogic()

    def pixelOf(self, point: tuple[float, float, float]) -> tuple[float, float]:
        """Where a point of the world (RAS mm) lies in the view, counted from the lower left."""
        toPixels = vtk.vtkMatrix4x4()
        toPixels.DeepCopy(self.node.GetXYToRAS())
        toPixels.Invert()
        return toPixels.MultiplyPoint([*point, 1.0])[:2]

    def takeSlicersMouse(self) -> None:
        """Let a person drag, scroll and zoom in the view as in Slicer."""
        style = slicer.vtkMRMLSliceViewInteractorStyle()
        style.SetSliceLogic(self.logic)
        self.takeMouse(style)

    def followLogic(self) -> None:
        """Draw what the slice logic makes now; nothing where no volume is selected."""
        connection = self.logic.GetImageDataConnection()
        if connection is None:
            self._mapper.SetInputData(self._blank)
        else:
            self._mapper.SetInputConnection(connection)


class ThreeDView(View):
    """The 3D view, seen from the front."""

    def __init__(
        self,
        headless: HeadlessSlicer,
        size: tuple[int, int] = (640, 480),
        screen: vtk.vtkRenderWindowInteractor | None = None,
    ) -> None:
        super().__init__(size, screen)
        self.logic = slicer.vtkMRMLViewLogic()
        self.logic.SetMRMLApplicationLogic(headless.applicationLogic)
        headless.applicationLogic.GetViewLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(headless.scene)
        self.node = self.logic.AddViewNode("1")
        self.node.SetBoxVisible(False)
        self.node.SetAxisLabelsVisible(False)
        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        self.addManagers(factory, headless.applicationLogic, THREED_MANAGERS, self.node)

    def pixelOf(self, point: tuple[float, float, float]) -> tuple[float, float]:
        """Where a point of the world (RAS mm) lies in the view, counted from the lower left."""
        self.renderer.SetWorldPoint(*point, 1.0)
        self.renderer.WorldToDisplay()
        return self.renderer.GetDisplayPoint()[:2]

    def takeSlicersMouse(self) -> None:
        """Let a person drag and turn in the view as in Slicer."""
        self.takeMouse(slicer.vtkMRMLThreeDViewInteractorStyle())

    def lookFromTheFront(self) -> None:
        """Turn the camera to the patient's front and fit everything in."""
        self.window.Render()
        manager = self.managers.GetDisplayableManagerByClassName("vtkMRMLCameraDisplayableManager")
        manager.GetCameraNode().RotateTo(slicer.vtkMRMLCameraNode.Anterior)
        self.renderer.ResetCamera()


def drawScene(headless: HeadlessSlicer) -> np.ndarray:
    """Axial, 3D, coronal and sagittal view of the scene in one picture, laid out as in Slicer.

    Returns:
        uint8 RGB, shape (height, width, 3).
    """
    volumeNode = headless.scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    segmentationNode = headless.scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    segmentationNode.CreateClosedSurfaceRepresentation()
    bounds = [0.0] * 6
    segmentationNode.GetRASBounds(bounds)
    middle = tuple((low + high) / 2 for low, high in zip(bounds[::2], bounds[1::2], strict=True))
    pictures = {}
    for name, orientation in (("Red", "Axial"), ("Green", "Coronal"), ("Yellow", "Sagittal")):
        view = SliceView(headless, name, orientation)
        view.show(volumeNode, middle)
        pictures[orientation] = view.picture()
    front = ThreeDView(headless)
    front.lookFromTheFront()
    top = np.concatenate([pictures["Axial"], front.picture()], axis=1)
    bottom = np.concatenate([pictures["Coronal"], pictures["Sagittal"]], axis=1)
    return np.concatenate([top, bottom], axis=0)


def main() -> None:
    """Draw the scene named on the command line."""
    from PIL import Image

    parser = argparse.ArgumentParser(description="Draw a saved scene in Slicer's views, off screen.")
    parser.add_argument("scene", type=Path)
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    headless = boot()
    if not headless.scene.ReadFromMRB(str(arguments.scene), True):
        parser.error(f"{arguments.scene} is no scene")
    Image.fromarray(drawScene(headless)).save(arguments.picture)


if __name__ == "__main__":
    main()
