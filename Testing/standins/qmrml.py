"""Stand-ins for the qMRML widgets the panel uses, on the real scene. They offer only what ``facts.json`` offers."""

from __future__ import annotations

from typing import Any

import slicer
import slicer.util
import vtk
from PySide6 import QtCore, QtWidgets
from Testing.standins import qt


class qMRMLWidget(qt.QWidget):
    """A widget that knows the scene."""

    mrmlSceneChanged = QtCore.Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene = None

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self) -> Any:
        return self._scene


def _option(kind: Any, name: str) -> Any:
    """A property of a node selector that changes what it shows."""

    def write(self: Any, value: Any) -> None:
        self._options[name] = list(value) if name == "nodeTypes" else value
        self._accepted.clear()
        self._fill()

    return QtCore.Property(kind, lambda self: self._options[name], write)


def _flag(name: str) -> Any:
    """A property that is remembered and nothing else."""
    return QtCore.Property(
        bool, lambda self: self.__dict__.get(name, True), lambda self, value: self.__dict__.__setitem__(name, value)
    )


def _removeAll(observers: list[tuple[Any, int]]) -> None:
    while observers:
        watched, tag = observers.pop()
        watched.RemoveObserver(tag)


class qMRMLNodeComboBox(qt.QWidget):
    """Picks a node of the scene, and follows as nodes come, go and are renamed."""

    currentNodeChanged = QtCore.Signal(object)
    currentNodeIDChanged = QtCore.Signal(str)
    nodeAddedByUser = QtCore.Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._box = QtWidgets.QComboBox()
        self._box.setSizeAdjustPolicy(QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self._box.setMinimumContentsLength(8)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self._scene = None
        observers: list[tuple[Any, int]] = []
        self._observers = observers
        self.destroyed.connect(lambda *_: _removeAll(observers))
        self._options: dict[str, Any] = {
            "nodeTypes": [],
            "noneEnabled": False,
            "addEnabled": True,
            "removeEnabled": True,
            "renameEnabled": False,
            "editEnabled": False,
            "showHidden": False,
            "showChildNodeTypes": True,
            "selectNodeUponCreation": True,
            "noneDisplay": "None",
            "baseName": "",
        }
        self._ids: list[str] = []
        self._accepted: dict[str, tuple[str, bool]] = {}
        named: list[tuple[Any, int]] = []
        self._named = named
        self.destroyed.connect(lambda *_: _removeAll(named))
        self._current = ""
        self._box.activated.connect(lambda row: self._select(self._ids[row]))

    nodeTypes = _option("QStringList", "nodeTypes")
    noneEnabled = _option(bool, "noneEnabled")
    addEnabled = _option(bool, "addEnabled")
    removeEnabled = _option(bool, "removeEnabled")
    renameEnabled = _option(bool, "renameEnabled")
    editEnabled = _option(bool, "editEnabled")
    showHidden = _option(bool, "showHidden")
    showChildNodeTypes = _option(bool, "showChildNodeTypes")
    selectNodeUponCreation = _option(bool, "selectNodeUponCreation")
    noneDisplay = _option(str, "noneDisplay")
    baseName = _option(str, "baseName")

    def setMRMLScene(self, scene: Any) -> None:
        _removeAll(self._observers)
        self._scene = scene
        if scene is not None:
            # Slicer's scene model shows nothing new while a scene is being read or closed, and all of it at the end.
            for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent):
                self._observers.append((scene, scene.AddObserver(event, self._sceneChanged)))
            # Slicer's scene model has this priority: after all who observe the scene as usual.
            going = scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._nodeGoes, -10.0)
            self._observers.append((scene, going))
        self._accepted.clear()
        self._fill()

    def mrmlScene(self) -> Any:
        return self._scene

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _nodeGoes(self, _scene: Any, _event: str, node: Any) -> None:
        """Qt's combo box moves on to what stands in the row of the node that is gone, whoever wanted that."""
        if self._scene.IsBatchProcessing() or node.GetID() not in self._ids:
            return
        row = [i for i in self._ids if i].index(node.GetID())
        self._ids.remove(node.GetID())
        left = [i for i in self._ids if i]
        if self._current == node.GetID():
            self._ids = self._ids or [""]
            self._current = left[min(row, len(left) - 1)] if left else ""
            self._follow(self.currentNode())
            self.currentNodeChanged.emit(self.currentNode())

    def _follow(self, node: Any) -> None:
        """Hear of the current node's new names."""
        _removeAll(self._named)
        if node is not None:
            self._named.append((node, node.AddObserver("ModifiedEvent", self._renamed)))

    def _renamed(self, node: Any, _event: str) -> None:
        if self._box.currentText() != node.GetName():
            self._fill()
            self.currentNodeChanged.emit(node)  # as Slicer's, which listens to the text

    def _sceneChanged(self, _scene: Any, event: str) -> None:
        if event == "EndBatchProcessEvent":
            self._accepted.clear()
        if not self._scene.IsBatchProcessing():
            before = set(self._ids)
            self._fill()
            came = [i for i in self._ids if i and i not in before]
            if event == "NodeAddedEvent" and came and not self._current and not self._options["noneEnabled"]:
                self._select(came[0])

    def _shows(self, node: Any) -> bool:
        """Slicer's filter looks at a node when it comes and when its name changes, not when it is hidden later."""
        seen = self._accepted.get(node.GetID())
        if seen is None or seen[0] != node.GetName():
            seen = self._accepted[node.GetID()] = (node.GetName(), self._accepts(node))
        return seen[1]

    def _accepts(self, node: Any) -> bool:
        if node.GetHideFromEditors() and not self._options["showHidden"]:
            return False
        derived = self._options["showChildNodeTypes"]
        return any(node.IsA(t) if derived else node.GetClassName() == t for t in self._options["nodeTypes"])

    def _nodes(self) -> list[Any]:
        return [n for n in map(self._scene.GetNthNode, range(self._scene.GetNumberOfNodes())) if self._shows(n)]

    def _fill(self) -> None:
        nodes = self._nodes() if self._scene is not None else []
        self._ids = [*([""] if self._options["noneEnabled"] or not nodes else []), *(n.GetID() for n in nodes)]
        self._box.clear()
        for identifier in self._ids:
            node = self._scene.GetNodeByID(identifier) if identifier else None
            self._box.addItem(node.GetName() if node else self._options["noneDisplay"])
        fallback = "" if "" in self._ids else self._ids[0]
        self._select(self._current if self._current in self._ids else fallback)

    def _select(self, identifier: str) -> None:
        self._box.setCurrentIndex(self._ids.index(identifier))
        if identifier != self._current:
            self._current = identifier
            self._follow(self.currentNode())
            self.currentNodeChanged.emit(self.currentNode())
            self.currentNodeIDChanged.emit(identifier)

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self._current) if self._scene is not None and self._current else None

    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentNodeID(node if isinstance(node, str) else node.GetID() if node is not None else "")

    def setCurrentNodeID(self, identifier: str) -> None:
        # Like the real one: an ID that is not among the shown nodes clears the selection where that is allowed.
        if identifier in self._ids:
            self._select(identifier)
        elif "" in self._ids:
            self._select("")

    currentNodeID = QtCore.Property(str, lambda self: self._current, setCurrentNodeID)

    def addNode(self) -> Any:
        node = self._scene.AddNewNodeByClass(self._options["nodeTypes"][0], self._options["baseName"])
        self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def nodeCount(self) -> int:
        return len([i for i in self._ids if i])


class qMRMLSegmentEditorWidget(qMRMLWidget):
    """The Segment Editor: no effects, but Slicer's own undo history over the real segmentation."""

    segmentationNodeChanged = QtCore.Signal(object)
    currentSegmentIDChanged = QtCore.Signal(str)
    sourceVolumeNodeChanged = QtCore.Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._editor = None
        self._effect = None
        observers: list[tuple[Any, int]] = []
        self._observers = observers
        self.destroyed.connect(lambda *_: _removeAll(observers))
        self._shortcuts = False
        self._views = False
        self._states = 10
        self._history = slicer.vtkSegmentationHistory()
        self._table = QtWidgets.QTableWidget(0, 2)
        self._table.setHorizontalHeaderLabels(["", "Name"])
        self._table.horizontalHeader().setStretchLastSection(True)
        self._table.verticalHeader().hide()
        self._table.setColumnWidth(0, 24)
        self._table.setMaximumHeight(84)
        effects = QtWidgets.QGridLayout()
        for number, effect in enumerate(("None", "Paint", "Draw", "Erase", "Grow", "Margin", "Smooth", "Islands")):
            button = QtWidgets.QToolButton()
            button.setText(effect)
            button.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
            effects.addWidget(button, number // 4, number % 4)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._table)
        layout.addLayout(effects)
        if slicer.app.layoutManager() is not None:
            slicer.app.layoutManager().layoutChanged.connect(self._onLayoutChanged)

    # --- which segmentation, segment and volume: all of it lives in the editor node

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        if node is self._editor:
            return
        _removeAll(self._observers)
        self._editor = node
        if node is not None:
            tag = node.AddObserver("ModifiedEvent", lambda *_: self.updateWidgetFromMRML())
            self._observers.append((node, tag))
            self._history.SetSegmentation(self._segmentation())
        self.updateWidgetFromMRML()

    def mrmlSegmentEditorNode(self) -> Any:
        """The node, to which the widget points weakly: a node that was removed is none."""
        return self._editor if self._editor is not None and self._editor.GetScene() is not None else None

    def segmentationNode(self) -> Any:
        return self._editor.GetSegmentationNode() if self._editor is not None else None

    def setSegmentationNode(self, node: Any) -> None:
        if self.segmentationNode() is not node:
            self.setActiveEffect(None)
            self._editor.SetAndObserveSegmentationNode(node)
            self._history.SetSegmentation(self._segmentation())
            first = (
                self._segmentation().GetNthSegmentID(0) if node and self._segmentation().GetNumberOfSegments() else ""
            )
            self._editor.SetSelectedSegmentID(first)
            self.segmentationNodeChanged.emit(node)
        self.updateWidgetFromMRML()

    def sourceVolumeNode(self) -> Any:
        return self._editor.GetSourceVolumeNode() if self._editor is not None else None

    def setSourceVolumeNode(self, node: Any) -> None:
        self._editor.SetAndObserveSourceVolumeNode(node)
        self.sourceVolumeNodeChanged.emit(node)

    def currentSegmentID(self) -> str:
        return self._editor.GetSelectedSegmentID() or "" if self._editor is not None else ""

    def setCurrentSegmentID(self, identifier: str) -> None:
        self._editor.SetSelectedSegmentID(identifier)
        self.currentSegmentIDChanged.emit(identifier)

    def _segmentation(self) -> Any:
        node = self.segmentationNode()
        return node.GetSegmentation() if node is not None else None

    def updateWidgetFromMRML(self) -> None:
        segmentation = self._segmentation()
        count = segmentation.GetNumberOfSegments() if segmentation is not None else 0
        self._table.setRowCount(count)
        for row in range(count):
            segment = segmentation.GetNthSegment(row)
            colour = QtWidgets.QTableWidgetItem()
            colour.setBackground(qt.QColor.fromRgbF(*segment.GetColor()))
            self._table.setItem(row, 0, colour)
            self._table.setItem(row, 1, QtWidgets.QTableWidgetItem(segment.GetName()))

    # --- effects, shortcuts, views

    def activeEffect(self) -> Any:
        return self._effect

    def setActiveEffect(self, effect: Any) -> None:
        if self.mrmlSegmentEditorNode() is None or effect == self._effect:
            return
        self._effect = effect
        if effect:
            self.setupViewObservations()
        else:
            self.removeViewObservations()

    def setActiveEffectByName(self, name: str) -> None:
        self.setActiveEffect(name or None)

    def installKeyboardShortcuts(self, parent: QtWidgets.QWidget | None = None) -> None:
        if parent is None and slicer.util.mainWindow() is None:
            raise RuntimeError("QShortcut: No widget parent defined")
        self._shortcuts = True

    def uninstallKeyboardShortcuts(self) -> None:
        self._shortcuts = False

    def setupViewObservations(self) -> None:
        self._views = True

    def removeViewObservations(self) -> None:
        self._views = False

    def _onLayoutChanged(self, _layout: int) -> None:
        """Slicer's widget shows the source volume in the views of the new layout; it asks for no node first."""
        if not self._views:
            return
        node = self.mrmlSegmentEditorNode()
        if node is None:
            raise RuntimeError("Slicer ends here: the views are observed and there is no segment editor node")
        volume = node.GetSourceVolumeNode()
        if volume is not None and self.autoShowSourceVolumeNode:
            slicer.util.setSliceViewerLayers(background=volume)

    # --- undo

    def saveStateForUndo(self) -> None:
        if self._segmentation() is not None:
            self._history.SaveState()

    def undo(self) -> None:
        self._history.RestorePreviousState()

    def redo(self) -> None:
        self._history.RestoreNextState()

    def setMaximumNumberOfUndoStates(self, count: int) -> None:
        self._states = count
        self._history.SetMaximumNumberOfStates(count)

    maximumNumberOfUndoStates = QtCore.Property(int, lambda self: self._states, setMaximumNumberOfUndoStates)

    segmentationNodeSelectorVisible = _flag("_segmentationSelector")
    sourceVolumeNodeSelectorVisible = _flag("_sourceSelector")
    switchToSegmentationsButtonVisible = _flag("_switchButton")
    undoEnabled = _flag("_undoEnabled")
    autoShowSourceVolumeNode = _flag("_autoShow")
