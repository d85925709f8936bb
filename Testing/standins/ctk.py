"""Stand-ins for the CTK widgets the panel uses. Each offers only what its header in ``facts.json`` offers."""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets
from Testing.standins import qt

TITLE_HEIGHT = 24


class _Folding:
    """Hides the children of a section while it is folded up."""

    _foldedHeight = TITLE_HEIGHT + 2

    def _fold(self, collapsed: bool) -> None:
        self._collapsed = collapsed
        self._hideOrShow()
        self.setMaximumHeight(self._foldedHeight if collapsed else 16777215)
        self.updateGeometry()

    def _hideOrShow(self) -> None:
        direct = QtCore.Qt.FindChildOption.FindDirectChildrenOnly
        for child in self.findChildren(QtWidgets.QWidget, options=direct):
            if self._collapsed:
                self._shown.setdefault(child, not child.isHidden())
                child.setVisible(False)
            else:
                child.setVisible(self._shown.pop(child, not child.isHidden()))

    def showEvent(self, event: QtGui.QShowEvent) -> None:
        super().showEvent(event)
        if self._collapsed:  # children that came after it was folded up, as when a .ui file is loaded
            self._hideOrShow()


class ctkCollapsibleButton(_Folding, qt.QAbstractButton):
    """A section with a title that folds it up."""

    contentsCollapsed = QtCore.Signal(bool)

    def __init__(self, *arguments: Any) -> None:
        texts = [a for a in arguments if isinstance(a, str)]
        parents = [a for a in arguments if isinstance(a, QtWidgets.QWidget)]
        self._collapsed = False
        self._shown: dict[QtWidgets.QWidget, bool] = {}
        super().__init__(*parents)
        self.setCheckable(True)
        self.setChecked(True)
        self.setText(texts[0] if texts else "")
        self.setContentsMargins(0, TITLE_HEIGHT, 0, 0)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.MinimumExpanding, QtWidgets.QSizePolicy.Policy.Preferred)
        self.connect("toggled(bool)", self._toggled)

    def _toggled(self, checked: bool) -> None:
        self._fold(not checked)
        self.contentsCollapsed.emit(not checked)

    def _setCollapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    collapsed = QtCore.Property(bool, lambda self: self._collapsed, _setCollapsed)

    def sizeHint(self) -> QtCore.QSize:
        return (
            self.layout().totalSizeHint() if self.layout() and not self._collapsed else QtCore.QSize(100, TITLE_HEIGHT)
        )

    def minimumSizeHint(self) -> QtCore.QSize:
        return (
            self.layout().totalMinimumSize() if self.layout() and not self._collapsed else QtCore.QSize(0, TITLE_HEIGHT)
        )

    def event(self, event: QtCore.QEvent) -> bool:
        if event.type() == QtCore.QEvent.Type.LayoutRequest:  # what is inside became larger or smaller
            self.updateGeometry()
        return super().event(event)

    def hitButton(self, position: QtCore.QPoint) -> bool:
        return 0 <= position.y() < TITLE_HEIGHT

    def paintEvent(self, event: QtCore.QEvent) -> None:
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, QtWidgets.QWidget.width(self), TITLE_HEIGHT - 2)
        painter.drawPrimitive(QtWidgets.QStyle.PrimitiveElement.PE_PanelButtonCommand, option)
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(6, 6, 10, 10)
        kind = QtWidgets.QStyle.PrimitiveElement
        painter.drawPrimitive(kind.PE_IndicatorArrowRight if self._collapsed else kind.PE_IndicatorArrowDown, arrow)
        painter.drawText(option.rect.adjusted(22, 0, 0, 0), QtCore.Qt.AlignmentFlag.AlignVCenter, self.text)


class ctkCollapsibleGroupBox(_Folding, qt.QGroupBox):
    """A group with a check mark that folds it up."""

    _foldedHeight = 18  # its title

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        self._collapsed = False
        self._shown: dict[QtWidgets.QWidget, bool] = {}
        super().__init__(parent)
        self.setCheckable(True)
        self.connect("toggled(bool)", self._toggled)

    def _toggled(self, checked: bool) -> None:
        self._fold(not checked)
        self.setFlat(not checked)  # nothing is left but its title

    collapsed = QtCore.Property(
        bool, lambda self: self._collapsed, lambda self, collapsed: self.setChecked(not collapsed)
    )


def _ofBox(kind: type, name: str) -> Any:
    """A property of a slider widget that is its spin box's."""

    def write(self: Any, value: Any) -> None:
        getattr(self._box, f"set{name[0].upper()}{name[1:]}")(value)
        self._ranged()

    return QtCore.Property(kind, lambda self: getattr(self._box, name)(), write)


class ctkSliderWidget(qt.QWidget):
    """A slider with a spin box."""

    valueChanged = QtCore.Signal(float)
    valueIsChanging = QtCore.Signal(float)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self._box = QtWidgets.QDoubleSpinBox()
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._box)
        self._slider.valueChanged.connect(lambda steps: self._box.setValue(self._box.minimum() + steps * self._step()))
        self._box.valueChanged.connect(self._changed)
        self._ranged()

    def _step(self) -> float:
        return self._box.singleStep()

    def _ranged(self, *_: Any) -> None:
        steps = round((self._box.maximum() - self._box.minimum()) / self._step())
        blocked = QtCore.QSignalBlocker(self._slider)
        self._slider.setRange(0, steps)
        blocked.unblock()

    def _changed(self, value: float) -> None:
        blocked = QtCore.QSignalBlocker(self._slider)
        self._slider.setValue(round((value - self._box.minimum()) / self._step()))
        blocked.unblock()
        self.valueChanged.emit(value)

    def setValue(self, value: float) -> None:
        self._box.setValue(value)

    def setDecimals(self, decimals: int) -> None:
        self._box.setDecimals(decimals)

    value = QtCore.Property(float, lambda self: self._box.value(), setValue)
    minimum = _ofBox(float, "minimum")
    maximum = _ofBox(float, "maximum")
    singleStep = _ofBox(float, "singleStep")
    decimals = _ofBox(int, "decimals")
    suffix = _ofBox(str, "suffix")


class ctkPathLineEdit(qt.QWidget):
    """A path with a button to browse for it."""

    currentPathChanged = QtCore.Signal(str)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._box = QtWidgets.QComboBox()
        self._box.setEditable(True)
        self._box.setSizePolicy(QtWidgets.QSizePolicy.Policy.Expanding, QtWidgets.QSizePolicy.Policy.Fixed)
        self._browse = QtWidgets.QToolButton()
        self._browse.setText("...")
        self._filters = ""
        self._settingKey = ""
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        layout.addWidget(self._browse)
        self._box.editTextChanged.connect(self.currentPathChanged)

    def setCurrentPath(self, path: str) -> None:
        self._box.setEditText(path)

    def addCurrentPathToHistory(self) -> None:
        # As the real one does, which fills its box anew.
        path = self._box.currentText()
        others = [self._box.itemText(row) for row in range(self._box.count())]
        self._box.clear()
        self._box.addItems([path, *(other for other in others if other != path)])
        self._box.setCurrentIndex(0)

    currentPath = QtCore.Property(str, lambda self: self._box.currentText(), setCurrentPath)
    # Flags in CTK; text here.
    filters = QtCore.Property(str, lambda self: self._filters, lambda self, value: setattr(self, "_filters", value))
    settingKey = QtCore.Property(
        str, lambda self: self._settingKey, lambda self, value: setattr(self, "_settingKey", value)
    )


class ctkFittedTextBrowser(qt.QTextBrowser):
    """A text; the real one is as high as it needs to be."""


class ctkMessageBox(qt.QMessageBox):
    """A message box that can be told not to come again."""
