"""A card above the large button until a person has chosen a model, or to go on with the bundled one."""

from __future__ import annotations

import html
import os

import qt
from slicer.i18n import tr as _

from PancreasSegLib.Panel.Installer import Installer
from PancreasSegLib.Panel.ModelSection import ModelSection, sizeText
from PancreasSegLib.Panel.Session import Session
from PancreasSegLib.Panel.Situation import Situation
from PancreasSegLib.Panel.Slots import slot
from PancreasSegLib.Panel.Widgets import Reasons, Ui, showText
from PancreasSegLib.Work.Models import ModelRow

DISMISSED_KEY = "PancreasSeg/FirstRunDismissed"


class FirstRunSection:
    """One card; shown while nothing but the bundled model is installed, and until it is dismissed.

    Args:
        ui: the widgets of the .ui file.
        session: shared by the sections.
        installer: of the panel.
        models: the section of the models, which asks for files and folders.
    """

    def __init__(self, ui: Ui, session: Session, installer: Installer, models: ModelSection) -> None:
        self.ui = ui
        self.session = session
        self.installer = installer
        self.models = models
        self._reasons = Reasons()
        ui.firstRunInstallButton.connect("clicked(bool)", self.onInstall)
        ui.firstRunFilesButton.connect("clicked(bool)", self.models.onInstallFile)
        ui.firstRunFolderButton.connect("clicked(bool)", self.models.onInstallFolder)
        ui.firstRunSkipButton.connect("clicked(bool)", self.onSkip)

    @property
    def row(self) -> ModelRow | None:
        """The model that is offered, a `ModelRow`; None when there is none to offer."""
        return next((row for row in self.models.rows if row.state == "available" and row.offer), None)

    @property
    def wanted(self) -> bool:
        """The card has something to say."""
        only = not any(row.state == "installed" for row in self.models.rows)
        dismissed = str(qt.QSettings().value(DISMISSED_KEY) or "") == "true"
        here = not self.session.place.remote
        return here and self.row is not None and only and not dismissed and self.session.models.readable

    @slot
    def onInstall(self) -> None:
        """Download and install what is offered, or stop that. The card itself says what comes from where."""
        if self.installer.running:
            self.installer.cancel()
        elif self.row is not None:
            self.installer.start([self.row.name])

    @slot
    def onSkip(self) -> None:
        """Go on with the bundled model; the card stays away. Models are under Advanced whenever they are wanted."""
        qt.QSettings().setValue(DISMISSED_KEY, "true")
        self.session.changed()

    def say(self, text: str) -> None:
        """A sentence for the person, on the card."""
        showText(self.ui.firstRunMessage, text)

    def show(self, situation: Situation) -> None:
        """Bring the widgets in line with the situation."""
        ui = self.ui
        row, wanted = self.row, self.wanted
        ui.firstRunGroup.setVisible(wanted)
        if row is None or not wanted:
            return
        ui.firstRunText.text = self._text(row)
        ui.firstRunInstallButton.text = self._buttonText(row)
        stopping = _("The installation is being stopped.") if self.installer.cancelling else ""
        busy = situation.whyNotInstallFile()
        self._reasons.show(ui.firstRunInstallButton, stopping if self.installer.running else busy)
        for button in (ui.firstRunFilesButton, ui.firstRunFolderButton):
            self._reasons.show(button, busy)
        ui.firstRunProgressBar.setVisible(self.installer.running)
        ui.firstRunProgressBar.value = round(100 * self.installer.fraction)
        showText(ui.firstRunMessage, self.installer.message)

    def _buttonText(self, row: ModelRow) -> str:
        if self.installer.cancelling:
            return _("Cancelling...")
        if self.installer.running:
            return _("Cancel")
        size = row.megabytes
        return _("Install ({size:.0f} MB)").format(size=size) if size else _("Install")

    def _text(self, row: ModelRow) -> str:
        """What the model is good for, how good it is and who says so, what it costs; and what there is without it."""
        bundled = next((each for each in self.models.rows if each.state == "bundled"), None)
        lines = [
            _("<b>Recommended for patients: {title}.</b> {text}").format(
                title=html.escape(row.title), text=html.escape(row.offer["text"])
            ),
            _("Contrast: {phase}. {figure}").format(phase=html.escape(row.card["contrast_phase"]), figure=_figure(row)),
            _source(row),
            _("A run will take about {time} on this computer's processor.").format(time=runTime(row.offer)),
        ]
        if bundled is not None:
            lines.append(
                _("Without it: {title}. {expect}").format(
                    title=html.escape(bundled.title), expect=html.escape(_expectation(bundled))
                )
            )
        return "<br>".join(lines)


def runTime(offer: dict, cores: int | None = None) -> str:
    """How long one run takes on a processor, from what it was measured to need.

    Args:
        offer: of the catalogue's entry, with ``core_seconds``: seconds of one run on one core.
        cores: of this computer, counted by default; one of them is left to Slicer.
    """
    cores = max(1, (cores or os.cpu_count() or 1) - 1)
    seconds = offer["core_seconds"] / cores
    if seconds < 90:
        return _("{seconds} seconds").format(seconds=max(5, 5 * round(seconds / 5)))
    return _("{minutes} minutes").format(minutes=round(seconds / 60))


def _source(row: ModelRow) -> str:
    """Licence, and from where how much comes."""
    text = _("Licence: {licence}. Download: {size} from {host}; your CT stays on this computer.")
    if row.local:
        text = _("Licence: {licence}. TotalSegmentator has it on this computer already; nothing is downloaded.")
    return text.format(licence=html.escape(row.card["licence"]), size=sizeText(row), host=html.escape(row.host))


def _figure(row: ModelRow) -> str:
    figures = row.card.get("figures") or []
    if not figures:
        return _("No figure is published.")
    first = figures[0]
    return html.escape(f"{first['metric']} {first['value']:.3g} ({first['data']}).")


def _expectation(row: ModelRow) -> str:
    """What to expect of the bundled model, in a few words; its card says the rest."""
    card = row.card
    if card.get("synthetic"):
        return _("It has seen synthetic images only and is not for patients.")
    values = [figure["value"] for figure in card.get("figures", []) if figure["metric"] == "DSC"]
    if not values:
        return _("Its card has no figure.")
    return _("DSC {low:.2f} to {high:.2f}, by the data it was measured on; see its card.").format(
        low=min(values), high=max(values)
    )
