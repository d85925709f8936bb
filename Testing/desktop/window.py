"""One window: the module's panel as Slicer builds it, beside Slicer's own slice views and 3D view."""

from __future__ import annotations

from pathlib import Path

import slicer
import vtk
import vtkmodules.qt
from PySide6 import QtCore, QtGui, QtWidgets
from Testing.slicer_boot import HeadlessSlicer
from Testing.slicer_boot.views import SliceView, ThreeDView
from Testing.standins.application import LayoutManager
from Testing.standins.scripted import loadModule

vtkmodules.qt.PyQtImpl = "PySide6"
from vtkmodules.qt.QVTKRenderWindowInteractor import QVTKRenderWindowInteractor  # noqa: E402

MODULE = Path(__file__).resolve().parents[2] / "PancreasSeg" / "PancreasSeg.py"
SIZE = (1600, 1000)
PANEL_WIDTH = 520

# Slicer's views with the colours of their bars.
SLICES = (("Red", "Axial", "#f34a33"), ("Green", "Coronal", "#6eb04b"), ("Yellow", "Sagittal", "#edd54c"))
THREE_D_COLOUR = "#3a63b8"


class Screen(QVTKRenderWindowInteractor):
    """A render window inside a Qt window, which hands the mouse on to VTK."""

    resized = QtCore.Signal()

    def __init__(self) -> None:
        super().__init__()
        self.interactor = self._Iren

    def resizeEvent(self, event: QtGui.QResizeEvent) -> None:
        super().resizeEvent(event)
        self.resized.emit()


class ViewWidget(QtWidgets.QWidget):
    """A view of Slicer's with its coloured bar.

    Attributes:
        screen: the widget that shows the render window.
        view: the `SliceView` or `ThreeDView` in it.
    """

    def __init__(self, title: str, colour: str, makeView) -> None:
        super().__init__()
        self.screen = Screen()
        self.view = makeView(screen=self.screen.interactor)
        bar = QtWidgets.QLabel(title)
        bar.setStyleSheet(f"background: {colour}; padding: 1px 6px; font-weight: bold")
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(bar)
        layout.addWidget(self.screen, 1)
        # As in Slicer: drawn when the displayable managers or the slice logic ask for it.
        for asking in (self.view.managers, self.view.logic, self.view.node):
            asking.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self.screen.update())
            asking.AddObserver(vtk.vtkCommand.UpdateEvent, lambda *_: self.screen.update())

    def toScreen(self, x: float, y: float) -> QtCore.QPoint:
        """A pixel of the view, counted from the lower left as VTK does, as a pixel of the screen."""
        return self.screen.mapToGlobal(QtCore.QPoint(round(x), round(self.screen.height() - 1 - y)))


class SliceWidget(ViewWidget):
    """A slice view, with the interaction that Slicer gives it."""

    def __init__(self, headless: HeadlessSlicer, name: str, orientation: str, colour: str) -> None:
        super().__init__(
            f"{name} · {orientation}", colour, lambda screen: SliceView(headless, name, orientation, screen=screen)
        )
        self.view.takeSlicersMouse()
        self.screen.resized.connect(self.fit)
        self.view.logic.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self.view.followLogic())

    def fit(self) -> None:
        """Show the whole slice."""
        self.view.logic.ResizeSliceNode(self.screen.width(), self.screen.height())
        self.view.logic.FitSliceToBackground()

    def pixelOf(self, ras) -> QtCore.QPoint:
        """Where a point of the world (RAS mm) lies on the screen."""
        return self.toScreen(*self.view.pixelOf(ras))

    def zoom(self, factor: float) -> None:
        """Magnify about the middle of the view."""
        fov = self.view.node.GetFieldOfView()
        self.view.node.SetFieldOfView(fov[0] / factor, fov[1] / factor, fov[2])


class Views(LayoutManager):
    """The layout manager of `slicer.app`, with real views."""

    def __init__(self, slices: list[SliceWidget], threeD: ViewWidget, headless: HeadlessSlicer) -> None:
        super().__init__(headless.scene)
        self._headless = headless
        self.slices = slices
        self.threeD = threeD

    def mrmlSliceLogics(self) -> vtk.vtkCollection:
        return self._headless.applicationLogic.GetSliceLogics()

    def sliceViewNames(self) -> list[str]:
        return [it.view.node.GetLayoutName() for it in self.slices]


class Window(QtWidgets.QWidget):
    """The panel on the left, four views on the right.

    Attributes:
        widget: the module's PancreasSegWidget.
        ui: the panel's widgets by name.
        slices: the slice views by orientation.
        threeD: the 3D view.
    """

    def __init__(self, headless: HeadlessSlicer) -> None:
        super().__init__()
        import PancreasSeg

        slices = [SliceWidget(headless, *it) for it in SLICES]
        self.slices = {orientation: it for (_, orientation, _), it in zip(SLICES, slices, strict=True)}
        self.threeD = ViewWidget("3D", THREE_D_COLOUR, lambda screen: ThreeDView(headless, screen=screen))
        style = vtk.vtkInteractorStyleTrackballCamera()
        self.threeD.screen.interactor.SetInteractorStyle(style)
        slicer.app.manager = Views(slices, self.threeD, headless)

        loadModule(PancreasSeg.PancreasSeg, MODULE)
        self.widget = PancreasSeg.PancreasSegWidget()
        self.widget.setup()
        self.ui = self.widget.ui
        self.panelArea = QtWidgets.QScrollArea()
        self.panelArea.setWidgetResizable(True)
        self.panelArea.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.panelArea.setFixedWidth(PANEL_WIDTH)
        self.panelArea.setWidget(self.widget.parent)

        views = QtWidgets.QGridLayout()
        views.setSpacing(3)
        for number, view in enumerate(
            (self.slices["Axial"], self.threeD, self.slices["Coronal"], self.slices["Sagittal"])
        ):
            views.addWidget(view, number // 2, number % 2)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(3, 3, 3, 3)
        layout.addWidget(self.panelArea)
        layout.addLayout(views, 1)
        self.setWindowTitle("PancreasSeg, outside the Slicer application")
        self.resize(*SIZE)

    def closeAll(self) -> None:
        """End the worker and give the render windows back before Qt goes."""
        self.widget.cleanup()
        for it in (*self.slices.values(), self.threeD):
            it.screen.Finalize()
        self.close()
