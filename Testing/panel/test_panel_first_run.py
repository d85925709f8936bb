"""The card above the large button: what to install, for what, from where; and how it goes away."""

import os
import shutil
from pathlib import Path

import pytest
import qt
from PySide6 import QtCore, QtGui, QtWidgets
from Testing.helpers.held_task import HeldTask
from Testing.helpers.model_samples import write_tiny
from Testing.helpers.panel import wait

from pancreasseg.core.errors import ModelError
from pancreasseg.core.progress import Update
from pancreasseg.models import catalogue

OFFER = {"text": "All contrast phases.", "core_seconds": 60}


@pytest.fixture
def offered(monkeypatch, panel):
    """A model that the catalogue recommends."""
    entries = dict(catalogue.entries())
    known = entries["obelisk-hybrid"]
    card = {**known.card, "name": "strong-model", "title": "Strong model", "version": "2"}
    entries["strong-model"] = catalogue.Entry(card, known.files, "strong", OFFER)
    monkeypatch.setattr(catalogue, "entries", lambda: entries)
    panel.models.list()
    panel.refresh()
    return "strong-model"


@pytest.fixture
def task(monkeypatch):
    HeldTask.started = []
    monkeypatch.setattr("PancreasSegLib.Panel.Installer.Task", HeldTask)
    return HeldTask


def shown(panel) -> bool:
    return not panel.ui.firstRunGroup.isHidden()


def test_without_a_recommended_model_there_is_no_card(panel, monkeypatch) -> None:
    plain = {name: catalogue.Entry(each.card, each.files) for name, each in catalogue.offered().items()}
    monkeypatch.setattr(catalogue, "offered", lambda: plain)
    panel.models.list()
    assert not shown(panel)


def test_totalsegmentators_organs_are_recommended_as_they_are_published(panel, ui) -> None:
    from PancreasSegLib.Panel.FirstRunSection import runTime

    panel.models.list()
    panel.refresh()
    assert shown(panel)
    text = ui.firstRunText.text
    for part in (
        "TotalSegmentator",
        "DSC 0.894",
        "own test set",
        "Apache-2.0",
        "233.7 MB from github.com",
    ):
        assert part in text, part
    assert f"about {runTime({'core_seconds': 30})}" in text
    assert ui.firstRunInstallButton.text == "Install (234 MB)"


def test_the_card_says_what_for_how_good_from_where_and_how_long(panel, ui, offered) -> None:
    assert shown(panel)
    text = ui.firstRunText.text
    for part in ("Strong model", "All contrast phases.", "portal-venous", "DSC", "MIT", "MB from", "githubusercontent"):
        assert part in text, part
    assert "about" in text
    assert "seconds" in text
    assert "Without it:" in text
    assert ui.firstRunInstallButton.text == "Install (4 MB)"


@pytest.mark.parametrize(
    ("core_seconds", "cores", "text"),
    [(60, 4, "20 seconds"), (3, 16, "5 seconds"), (60, 1, "60 seconds"), (1200, 5, "5 minutes")],
)
def test_the_time_of_a_run_follows_the_processor(headless, core_seconds, cores, text) -> None:
    from PancreasSegLib.Panel.FirstRunSection import runTime

    assert runTime({"core_seconds": core_seconds}, cores) == text


def test_a_click_installs_and_shows_how_far_it_is(panel, ui, offered, task) -> None:
    ui.firstRunInstallButton.click()
    assert task.started[-1] == ["install", offered]
    assert ui.firstRunInstallButton.text == "Cancel"
    assert not ui.firstRunFilesButton.enabled
    task.last.news = [Update("download", 1, 4, 0.25, 3.0)]
    wait(lambda: ui.firstRunProgressBar.value == 25)
    assert ui.modelProgressBar.value == 25, "the list of models shows the same installation"
    write_tiny(Path(os.environ["PANCREASSEG_HOME"]) / "models" / "tiny-model")
    task.last.news = [{"installed": [offered]}]
    wait(lambda: not panel.session.installing)
    panel.refresh()
    assert not shown(panel), "there is another model now"


def test_a_failure_is_a_sentence_on_the_card_and_the_card_stays(panel, ui, offered, task) -> None:
    ui.firstRunInstallButton.click()
    task.last.news = [ModelError("no-network", "The server could not be reached.", "Use a file you have.")]
    wait(lambda: not panel.session.installing)
    assert shown(panel)
    assert ui.firstRunMessage.text == "The server could not be reached. Use a file you have."
    assert ui.firstRunInstallButton.enabled


def test_the_same_button_cancels(panel, ui, offered, task) -> None:
    ui.firstRunInstallButton.click()
    ui.firstRunInstallButton.click()
    assert task.last.cancelled
    assert ui.firstRunInstallButton.text == "Cancelling..."
    assert ui.firstRunInstallButton.toolTip == "The installation is being stopped."


def test_files_that_are_at_hand_are_installed_instead(panel, ui, dialogs, offered, tmp_path) -> None:
    write_tiny(tmp_path / "tiny-model")
    dialogs.paths = [shutil.make_archive(str(tmp_path / "tiny"), "zip", tmp_path, "tiny-model")]
    ui.firstRunFilesButton.click()
    wait(lambda: not panel.session.installing, 60)
    panel.refresh()
    assert not shown(panel)


def test_who_goes_on_with_the_bundled_model_is_not_asked_again(panel, ui, offered) -> None:
    ui.firstRunSkipButton.click()
    assert not shown(panel)
    panel.models.list()
    assert not shown(panel)
    assert str(qt.QSettings().value("PancreasSeg/FirstRunDismissed")) == "true"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Qt, about making such an event by hand
@pytest.mark.parametrize("place", ["modelsGroup", "firstRunGroup"])
def test_a_model_dragged_onto_the_panel_is_installed(panel, ui, offered, task, tmp_path, place) -> None:
    data = QtCore.QMimeData()
    data.setUrls([QtCore.QUrl.fromLocalFile(str(tmp_path / "model.zip"))])
    widget = getattr(ui, place)
    for kind in (QtGui.QDragEnterEvent, QtGui.QDropEvent):
        position = QtCore.QPoint(3, 3) if kind is QtGui.QDragEnterEvent else QtCore.QPointF(3, 3)
        event = kind(
            position,
            QtCore.Qt.DropAction.CopyAction,
            data,
            QtCore.Qt.MouseButton.LeftButton,
            QtCore.Qt.KeyboardModifier.NoModifier,
        )
        QtWidgets.QApplication.sendEvent(widget, event)
        assert event.isAccepted()
    assert task.started[-1] == ["install", str(tmp_path / "model.zip")]


def test_text_dragged_onto_the_panel_is_not_taken(panel, ui, offered, task) -> None:
    data = QtCore.QMimeData()
    data.setText("model")
    event = QtGui.QDropEvent(
        QtCore.QPointF(3, 3),
        QtCore.Qt.DropAction.CopyAction,
        data,
        QtCore.Qt.MouseButton.LeftButton,
        QtCore.Qt.KeyboardModifier.NoModifier,
    )
    QtWidgets.QApplication.sendEvent(ui.modelsGroup, event)
    assert not panel.session.installing


def test_a_newer_version_in_the_catalogue_is_an_update(panel, ui, offered) -> None:
    write_tiny(Path(os.environ["PANCREASSEG_HOME"]) / "models" / offered, name=offered)
    panel.models.list()
    row = next(n for n, each in enumerate(panel.models.rows) if each.name == offered)
    assert panel.models.rows[row].state == "outdated"
    ui.modelsTable.selectRow(row)
    assert ui.installModelButton.text == "Update"
    assert ui.installModelButton.enabled
    assert ui.removeModelButton.enabled
    assert ui.modelSelector.findData(offered) > 0, "it still runs"
