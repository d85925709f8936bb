"""A small dialog about a network in an ONNX or TorchScript file, which does not say itself what it was trained on."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import slicer.util
from slicer.i18n import tr as _

from PancreasSegLib.Panel.Slots import slot
from PancreasSegLib.Panel.Widgets import fill, showText
from PancreasSegLib.Work.FileCards import ORIENTATIONS, PHASES, ROLES, VALUES, Answers, carriesCode

UI_FILE = Path(__file__).resolve().parents[2] / "Resources" / "UI" / "PancreasSegCard.ui"


class CardForm:
    """The dialog. It stays until the answers make sense or the person cancels.

    Args:
        file: the network.
        taken: names that other models have.
        answers: what stands in it first.
        then: called with the answers; not when it was cancelled.
    """

    def __init__(self, file: Path, taken: Collection[str], answers: Answers, then: Callable[[Answers], object]) -> None:
        self.taken = taken
        self.then = then
        self.widget = slicer.util.loadUI(str(UI_FILE))
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self._introduce(file)
        self._show(answers)
        self.ui.cardValues.connect("currentIndexChanged(int)", self.onValues)
        self.ui.cardInstallButton.connect("clicked(bool)", self.onInstall)
        self.ui.cardCancelButton.connect("clicked(bool)", self.onCancel)
        self.onValues()
        self.say("")

    def open(self) -> None:
        """Show it in front of the window, which waits."""
        window = slicer.util.mainWindow()
        if window is not None:
            self.widget.setParent(window, self.widget.windowFlags())
        self.widget.open()

    def close(self) -> None:
        """Away with it."""
        self.widget.hide()
        self.widget.deleteLater()

    @property
    def answers(self) -> Answers:
        """What stands in it now."""
        ui = self.ui
        return Answers(
            name=ui.cardName.text.strip(),
            role=_chosen(ui.cardRole),
            classes=ui.cardClasses.text,
            pancreas=ui.cardPancreas.value,
            parts=ui.cardParts.text,
            spacing=(ui.cardSpacingX.value, ui.cardSpacingY.value, ui.cardSpacingZ.value),
            orientation=_chosen(ui.cardOrientation),
            patch=(ui.cardPatchX.value, ui.cardPatchY.value, ui.cardPatchZ.value),
            values=_chosen(ui.cardValues),
            window=(ui.cardWindowLow.value, ui.cardWindowHigh.value),
            mean=ui.cardNormalMean.value,
            deviation=ui.cardNormalDeviation.value,
            phase=_chosen(ui.cardPhase),
            training=ui.cardTraining.text,
            licence=ui.cardLicence.text,
        )

    @slot
    def onInstall(self) -> None:
        """Hand the answers over if they make sense, else say what does not."""
        answers = self.answers
        problem = answers.problem(self.taken)
        self.say(problem)
        if not problem:
            self.widget.accept()
            self.then(answers)

    @slot
    def onCancel(self) -> None:
        """Install nothing."""
        self.widget.reject()

    @slot
    def onValues(self) -> None:
        """Ask for a window, a mean and a deviation only where they are used."""
        values, ui = _chosen(self.ui.cardValues), self.ui
        for widget in (ui.cardWindowLabel, ui.cardWindowLow, ui.cardWindowHigh):
            widget.setVisible(values != "z-score")
        for widget in (ui.cardNormalLabel, ui.cardNormalMean, ui.cardNormalDeviation):
            widget.setVisible(values == "normalised")

    def say(self, text: str) -> None:
        """A sentence for the person."""
        showText(self.ui.cardMessage, text)

    def _introduce(self, file: Path) -> None:
        text = _(
            "{file} does not say what it was trained on. Take this from the people who made it. The network is then "
            "tried on an input of the size that you state, and nothing is installed if it gives no answer."
        )
        if carriesCode(file):
            text += " " + _("It is TorchScript and carries code; you will be asked whether that may run.")
        self.ui.cardIntroduction.text = text.format(file=file.name)

    def _show(self, answers: Answers) -> None:
        ui = self.ui
        for widget, choices, value in (
            (ui.cardRole, ROLES, answers.role),
            (ui.cardOrientation, ORIENTATIONS, answers.orientation),
            (ui.cardValues, VALUES, answers.values),
            (ui.cardPhase, PHASES, answers.phase),
        ):
            fill(widget, [(name, _(title)) for name, title in choices.items()], value)
        for widget, text in (
            (ui.cardName, answers.name),
            (ui.cardClasses, answers.classes),
            (ui.cardParts, answers.parts),
            (ui.cardTraining, answers.training),
            (ui.cardLicence, answers.licence),
        ):
            widget.text = text
        numbers = (
            (ui.cardPancreas, answers.pancreas),
            *zip((ui.cardSpacingX, ui.cardSpacingY, ui.cardSpacingZ), answers.spacing, strict=True),
            *zip((ui.cardPatchX, ui.cardPatchY, ui.cardPatchZ), answers.patch, strict=True),
            *zip((ui.cardWindowLow, ui.cardWindowHigh), answers.window, strict=True),
            (ui.cardNormalMean, answers.mean),
            (ui.cardNormalDeviation, answers.deviation),
        )
        for widget, number in numbers:
            widget.value = number


def _chosen(comboBox: object) -> str:
    """User data of the selected entry."""
    return comboBox.itemData(comboBox.currentIndex)  # type: ignore[attr-defined]
