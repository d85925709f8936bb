"""Advanced, models: what is installed and what can be, with the card of each."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from pathlib import Path

import qt
from slicer.i18n import tr as _

from PancreasSegLib.Panel.Drops import Drops
from PancreasSegLib.Panel.Installer import Installer
from PancreasSegLib.Panel.Session import Session
from PancreasSegLib.Panel.Situation import Situation
from PancreasSegLib.Panel.Slots import slot
from PancreasSegLib.Panel.Widgets import ROW_PIXELS, Quiet, Reasons, Ui, showText
from PancreasSegLib.Work.FileCards import Answers, firstAnswers, withoutCard
from PancreasSegLib.Work.Models import ModelRow

# Someone who types a path pauses for longer than this only when it is whole.
TYPING_MILLISECONDS = 1000
FOLDER_KEY = "PancreasSeg/ModelFolder"


class ModelSection:
    """The table of models and the card of the selected one.

    Args:
        ui: the widgets of the .ui file.
        session: shared by the sections.
        installer: of the panel.
        onModels: called with the rows when models have changed.
    """

    def __init__(
        self, ui: Ui, session: Session, installer: Installer, onModels: Callable[[list[ModelRow]], None]
    ) -> None:
        self.ui = ui
        self.session = session
        self.installer = installer
        installer.onEnded = self.list
        self.onModels = onModels
        self.rows: list = []
        self._reasons = Reasons()
        self._typing = qt.QTimer()
        self._typing.setSingleShot(True)
        self._typing.setInterval(TYPING_MILLISECONDS)
        self._typing.connect("timeout()", self.onTyped)
        self._answers: dict[Path, Answers] = {}  # about networks in files
        self._told = ""  # what the installer has said last
        self._states = {
            "installed": _("installed"),
            "bundled": _("bundled"),
            "available": _("available"),
            "outdated": _("update available"),
            "damaged": _("damaged"),
        }
        table = ui.modelsTable
        table.setColumnCount(2)
        table.setHorizontalHeaderLabels([_("Model"), _("State")])
        table.verticalHeader().setVisible(False)
        table.horizontalHeader().setStretchLastSection(True)
        table.verticalHeader().setDefaultSectionSize(ROW_PIXELS)
        table.setColumnWidth(0, 280)
        table.connect("itemSelectionChanged()", self.onSelected)
        ui.installModelButton.connect("clicked(bool)", self.onInstall)
        ui.installFileButton.connect("clicked(bool)", self.onInstallFile)
        ui.installFolderButton.connect("clicked(bool)", self.onInstallFolder)
        ui.verifyModelButton.connect("clicked(bool)", self.onVerify)
        ui.removeModelButton.connect("clicked(bool)", self.onRemove)
        ui.modelFolder.connect("currentPathChanged(QString)", lambda: self._typing.start())  # with every letter
        self._drops = [Drops(widget, self.onDropped) for widget in (ui.modelsGroup, ui.firstRunGroup)]
        stored = qt.QSettings().value(FOLDER_KEY)
        if stored:
            session.models.home = stored
        with Quiet(ui.modelFolder):
            ui.modelFolder.setCurrentPath(session.models.home)
        ui.modelProgressBar.setVisible(False)
        showText(ui.modelsMessage, "")
        self.list()

    def list(self) -> None:
        """Read what is installed, and show it."""
        self.rows = self.session.models.rows()
        if not self.ui.modelFolder.currentPath:  # it was not known while packages were missing
            with Quiet(self.ui.modelFolder):
                self.ui.modelFolder.setCurrentPath(self.session.models.home)
        table = self.ui.modelsTable
        with Quiet(table):
            table.clearSelection()
            table.setRowCount(len(self.rows))
            for number, row in enumerate(self.rows):
                for column, text in enumerate((row.title, self._states[row.state])):
                    item = qt.QTableWidgetItem(text)
                    item.setToolTip(row.name)
                    table.setItem(number, column, item)
        self.onModels(self.rows)
        self.onSelected()

    @slot
    def onSelected(self) -> None:
        """Show the card of the selected model."""
        row = self._row()
        self.session.modelSelected = row.state if row is not None else ""
        self.ui.modelCard.setHtml(_card(row) if row is not None else "")
        self.session.changed()

    @slot
    def onInstall(self) -> None:
        """Install the selected model from the catalogue, or stop installing."""
        if self.installer.running:
            self.installer.cancel()
            return
        row = self._row()
        if row is not None:
            self.download(row)

    def download(self, row: ModelRow) -> None:
        """Download a model of the catalogue and install it, after asking."""
        if self.installer.running:
            return
        text = _("Download {size} from {host} and install '{title}'?")
        if row.local:
            text = _("Install '{title}' from TotalSegmentator's folder on this computer? Nothing is downloaded.")
        question = text.format(size=sizeText(row), host=row.host, title=row.title)
        if row.state == "damaged" or self.session.dialogs.confirm(question):
            self.ui.advancedSection.collapsed = False  # progress and Cancel are there
            self.ui.modelsGroup.collapsed = False
            self.installer.start([row.name])

    @slot
    def onInstallFile(self) -> None:
        """Install a model that is on this computer already; several files can be the parts of one."""
        files = self.session.dialogs.openFiles(
            _("Install a model"), _("Models") + " (*.zip model.json *.pth *.onnx *.pt *.ts)"
        )
        if files:
            self._install(files)

    @slot
    def onInstallFolder(self) -> None:
        """Install what lies in a folder of this computer."""
        folder = self.session.dialogs.openFolder(_("Install the models in a folder"))
        if folder:
            self.installer.start([folder])

    @slot
    def onDropped(self, paths: Sequence[str]) -> None:
        """Install what was dragged here: a package, a zip, a folder, or the files of one model."""
        why = self.session.situation().whyNotInstallFile()
        if why:
            showText(self.ui.modelsMessage, why)
        else:
            self._install(paths)

    def _install(self, paths: Sequence[str]) -> None:
        """Install from this computer; what does not say what it was trained on is asked about first."""
        file = withoutCard(paths)
        if file is None:
            self.installer.start([*paths])
            return
        taken = [row.name for row in self.rows if row.state != "available"]
        before = self._answers.get(file) or firstAnswers(file)
        self.session.dialogs.fillCard(file, taken, before, lambda answers: self.onAnswered(file, answers))

    @slot
    def onAnswered(self, file: Path, answers: Answers) -> None:
        """Install a network in a file, with the card that a person has filled in; it is kept for another try."""
        self._answers[file] = answers
        why = self.session.situation().whyNotInstallFile()
        if why:
            showText(self.ui.modelsMessage, why)
        else:
            self.installer.start([str(file)], answers.card())

    @slot
    def onVerify(self) -> None:
        """Hash the selected model's weights."""
        row = self._row()
        if row is None:
            return
        try:
            trouble = row.trouble or self.session.models.verify(row.name)
        except Exception as error:
            trouble = self.session.sentence(error)
        showText(self.ui.modelsMessage, trouble or _("'{title}' is whole and unchanged.").format(title=row.title))

    @slot
    def onRemove(self) -> None:
        """Delete the selected model from this computer."""
        row = self._row()
        if row is None:
            return
        question = _("Delete '{title}' from this computer?").format(title=row.title)
        if row.name in self._used():
            question += " " + _("The next run would use it.")
        if not self.session.dialogs.confirm(question):
            return
        try:
            self.session.models.remove(row.name)
        except Exception as error:
            showText(self.ui.modelsMessage, self.session.sentence(error))
        else:
            showText(self.ui.modelsMessage, _("Removed."))
        self.list()

    @slot
    def onTyped(self) -> None:
        """Another folder was chosen: models are kept there from now on, if there is such a folder."""
        session = self.session
        folder = self.ui.modelFolder.currentPath
        if not folder or folder == session.models.home:
            return
        if session.busy or session.installing:
            self._typing.start()  # what goes on ends with the folder it began with
        elif Path(folder).is_dir():
            self._moveTo(folder)
        else:
            text = _("There is no folder '{folder}'; models are kept in '{home}' as before.")
            showText(self.ui.modelsMessage, text.format(folder=folder, home=session.models.home))

    def _moveTo(self, folder: str) -> None:
        self.session.models.home = folder
        qt.QSettings().setValue(FOLDER_KEY, folder)
        self.session.workflow.shutdown()  # the worker reads the folder when it starts
        showText(self.ui.modelsMessage, "")
        self.list()

    def say(self, text: str) -> None:
        """A sentence for the person, in this section."""
        showText(self.ui.modelsMessage, text)

    def show(self, situation: Situation) -> None:
        """Bring the widgets in line with the situation."""
        ui = self.ui
        ui.installModelButton.text = self._buttonText(situation)
        why = _("The installation is being stopped.") if self.installer.cancelling else ""
        self._reasons.show(ui.installModelButton, why if situation.installing else situation.whyNotInstallModel())
        self._reasons.show(ui.installFileButton, situation.whyNotInstallFile())
        self._reasons.show(ui.installFolderButton, situation.whyNotInstallFile())
        self._reasons.show(ui.verifyModelButton, situation.whyNotVerify())
        self._reasons.show(ui.removeModelButton, situation.whyNotRemove())
        self._reasons.show(ui.modelFolder, situation.whyNotInstallFile() or situation.whyNotSample())
        self._markUsed()
        ui.modelProgressBar.setVisible(self.installer.running)
        ui.modelProgressBar.value = round(100 * self.installer.fraction)
        if self.installer.message != self._told:  # later messages of this section stay
            self._told = self.installer.message
            showText(ui.modelsMessage, self._told)

    def close(self) -> None:
        """The panel goes away."""
        self._typing.stop()
        self.installer.close()

    def _used(self) -> set[str]:
        """The models here that the next run of the selected CT would use."""
        session = self.session
        if session.parameters is None or session.place.remote:
            return set()
        return session.models.used(session.parameters.setup)

    def _markUsed(self) -> None:
        """Say in the table which models the next run would use."""
        used = self._used()
        for number, row in enumerate(self.rows):
            text = self._states[row.state]
            self.ui.modelsTable.item(number, 1).setText(
                _("{state}, in use").format(state=text) if row.name in used else text
            )

    def _row(self) -> ModelRow | None:
        number = self.ui.modelsTable.currentRow()
        selected = 0 <= number < len(self.rows) and len(self.ui.modelsTable.selectedItems()) > 0
        return self.rows[number] if selected else None

    def _buttonText(self, situation: Situation) -> str:
        if self.installer.cancelling:
            return _("Cancelling...")
        if situation.installing:
            return _("Cancel")
        return _("Update") if situation.modelSelected == "outdated" else _("Install")


def _card(row: ModelRow) -> str:
    """A model's card for people: what it was trained on, what it must not be used for, figures, licence."""
    if row.trouble:
        return html.escape(row.trouble)
    card = row.card
    training = card.get("training") or {}
    lines = [
        f"<b>{html.escape(row.title)}</b> {html.escape(row.version)}",
        html.escape(card.get("description", "")),
        _field(_("For"), card.get("intended_use", "")),
        _field(_("Not for"), "; ".join(card.get("not_for", []))),
        _field(_("Contrast phase"), card.get("contrast_phase", "")),
        _field(_("Trained on"), ", ".join(str(v) for v in (training.get("data"), training.get("licence")) if v)),
        _field(_("Fetched from"), training.get("fetched", "")),
        _field(_("Careful"), _("it carries code, which runs in the worker") if card.get("carries_code") else ""),
        *(_field(figure["metric"], f"{figure['value']:.3g} ({figure['data']})") for figure in card.get("figures", [])),
        _field(_("Licence"), card.get("licence", "")),
        _field(_("Please cite"), card.get("citation", "")),
    ]
    if row.local:
        lines.append(_field(_("On this computer"), row.local))
    elif row.state in ("available", "outdated"):
        lines.append(_field(_("Download"), f"{sizeText(row)}, {row.host}"))
    return "<br>".join(line for line in lines if line)


def _field(name: str, text: str) -> str:
    return f"<b>{html.escape(name)}:</b> {html.escape(text)}" if text else ""


def sizeText(row: ModelRow) -> str:
    """Of a download; some authors do not state it."""
    return f"{row.megabytes:.1f} MB" if row.megabytes else _("a file whose size is not known beforehand")
