"""The model manager: list, install, verify, remove, folder, cards."""

import os
import shutil
from pathlib import Path

import pytest
import qt
from Testing.helpers.held_task import HeldTask
from Testing.helpers.model_samples import write_tiny
from Testing.helpers.panel import wait

from pancreasseg.core.errors import Cancelled, ModelError, RunError
from pancreasseg.core.progress import Update
from pancreasseg.core.setup import AUTOMATIC

BUNDLED = "pancreas-ct"


def select(panel, name: str) -> None:
    """Click on a row of the table."""
    number = next(n for n, row in enumerate(panel.models.rows) if row.name == name)
    panel.ui.modelsTable.selectRow(number)


def names(panel, state: str) -> list[str]:
    return [row.name for row in panel.models.rows if row.state == state]


@pytest.fixture
def home(monkeypatch) -> Path:
    """The store's folder."""
    return Path(os.environ["PANCREASSEG_HOME"])


@pytest.fixture
def installed(home, panel):
    """A model in the store, listed."""
    write_tiny(home / "models" / "tiny-model")
    panel.models.list()
    return "tiny-model"


@pytest.fixture
def task(monkeypatch):
    HeldTask.started = []
    monkeypatch.setattr("PancreasSegLib.Panel.Installer.Task", HeldTask)
    return HeldTask


def test_bundled_and_available_models_are_listed(panel, ui) -> None:
    assert names(panel, "bundled") == [BUNDLED]
    assert "obelisk-hybrid" in names(panel, "available")
    assert ui.modelsTable.rowCount == len(panel.models.rows)
    assert ui.modelSelector.findData(BUNDLED) > 0
    assert ui.modelSelector.findData("obelisk-hybrid") == -1, "it is not installed"


def test_the_card_says_what_a_model_is_not_for(panel, ui) -> None:
    select(panel, BUNDLED)
    text = ui.modelCard.plainText
    assert "Not for: patients" in text or "Not for:" in text
    assert "Trained on:" in text
    assert "Licence: CC BY-SA 4.0" in text
    select(panel, "obelisk-hybrid")
    assert "raw.githubusercontent.com" in ui.modelCard.plainText, "where a download comes from"


def test_without_a_selection_the_buttons_say_what_to_do(panel, ui) -> None:
    assert ui.installModelButton.toolTip == "Select a model in the table first."
    assert ui.verifyModelButton.toolTip == "Select an installed model in the table first."
    assert ui.installFileButton.enabled


def test_the_bundled_model_cannot_be_removed(panel, ui) -> None:
    select(panel, BUNDLED)
    assert not ui.removeModelButton.enabled
    assert "comes with the software" in ui.removeModelButton.toolTip
    assert not ui.installModelButton.enabled


def test_the_bundled_model_is_verified(panel, ui) -> None:
    select(panel, BUNDLED)
    ui.verifyModelButton.click()
    assert "whole and unchanged" in ui.modelsMessage.text


def test_a_changed_model_is_found_out(panel, ui, home, installed) -> None:
    weights = home / "models" / installed / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    select(panel, installed)
    ui.verifyModelButton.click()
    assert "whole and unchanged" not in ui.modelsMessage.text
    assert ui.modelsMessage.text.endswith(".")


def test_a_damaged_model_is_listed_with_what_is_wrong(panel, ui, home, installed) -> None:
    (home / "models" / installed / "model.json").write_text("{")
    panel.models.list()
    assert names(panel, "damaged") == [installed]
    select(panel, installed)
    assert "cannot be used" in ui.modelCard.plainText
    assert ui.removeModelButton.enabled


def test_a_model_is_removed_after_asking(panel, ui, dialogs, installed) -> None:
    select(panel, installed)
    dialogs.agree = False
    ui.removeModelButton.click()
    assert names(panel, "installed") == [installed]
    dialogs.agree = True
    ui.removeModelButton.click()
    assert names(panel, "installed") == []
    assert dialogs.asked == ["Delete 'Tiny' from this computer?"] * 2
    assert ui.modelSelector.findData(installed) == -1


def test_a_model_in_use_by_a_run_is_not_removed(panel, ui, client, installed, selected) -> None:
    select(panel, installed)
    client.held = True
    ui.segmentButton.click()
    assert not ui.removeModelButton.enabled
    client.held = False
    wait(lambda: not panel.session.busy)


def test_a_package_from_a_file_is_installed_in_a_process_of_its_own(panel, ui, dialogs, tmp_path) -> None:
    write_tiny(tmp_path / "tiny-model")
    dialogs.paths = [shutil.make_archive(str(tmp_path / "Modell ü"), "zip", tmp_path, "tiny-model")]
    ui.installFileButton.click()
    assert panel.session.installing
    assert not ui.installFileButton.enabled
    assert not ui.modelProgressBar.isHidden()
    wait(lambda: not panel.session.installing, 60)
    assert ui.modelsMessage.text == "Installed: tiny-model."
    assert names(panel, "installed") == ["tiny-model"]


def test_a_file_that_is_no_model_is_a_sentence(panel, ui, dialogs, tmp_path) -> None:
    file = tmp_path / "x.zip"
    file.write_bytes(b"no zip")
    dialogs.paths = [str(file)]
    ui.installFileButton.click()
    wait(lambda: not panel.session.installing, 60)
    assert ui.modelsMessage.text.endswith(".")
    assert not ui.modelsMessage.text.startswith("Installed")
    assert names(panel, "installed") == []


def test_no_file_chosen_is_no_installation(panel, ui, task) -> None:
    ui.installFileButton.click()
    ui.installFolderButton.click()
    assert task.started == []


def test_several_files_are_installed_together(panel, ui, dialogs, task) -> None:
    dialogs.paths = ["/a/fold1.pth", "/a/fold2.pth"]
    ui.installFileButton.click()
    assert task.started == [["install", "/a/fold1.pth", "/a/fold2.pth"]]
    assert not ui.installFolderButton.enabled
    assert ui.installFolderButton.toolTip == "A model is being installed."


def test_what_lies_in_a_folder_is_installed(panel, ui, dialogs, tmp_path) -> None:
    write_tiny(tmp_path / "Modell ü")
    dialogs.path = str(tmp_path / "Modell ü")
    ui.installFolderButton.click()
    wait(lambda: not panel.session.installing, 60)
    assert ui.modelsMessage.text == "Installed: tiny-model."
    assert names(panel, "installed") == ["tiny-model"]


def test_files_that_are_no_checkpoints_are_not_installed_together_and_a_sentence_says_so(
    panel, ui, dialogs, tmp_path
) -> None:
    for name in ("a.zip", "b.zip"):
        (tmp_path / name).write_bytes(b"")
    dialogs.paths = [str(tmp_path / "a.zip"), str(tmp_path / "b.zip")]
    ui.installFileButton.click()
    wait(lambda: not panel.session.installing, 60)
    assert ui.modelsMessage.text == (
        "a.zip cannot be installed together with other files; only published .pth files can. "
        "Install model packages one at a time."
    )


@pytest.mark.real_data
@pytest.mark.parametrize("way", ["files", "folder", "zip"])
def test_the_four_files_of_an_ensemble_are_one_model(panel, ui, dialogs, tmp_path, real_data, way) -> None:
    files = sorted((real_data / "models" / "obelisk").glob("obeliskhybrid_*.pth"))
    assert len(files) == 4
    if way == "files":
        dialogs.paths = [str(file) for file in files]
        ui.installFileButton.click()
    else:
        folder = tmp_path / "from their page"
        folder.mkdir()
        for file in files:
            shutil.copy(file, folder)
        dialogs.path = str(folder)
        dialogs.paths = [shutil.make_archive(str(tmp_path / "OBELISK-master"), "zip", tmp_path, folder.name)]
        (ui.installFolderButton if way == "folder" else ui.installFileButton).click()
    wait(lambda: not panel.session.installing, 120)
    assert "obelisk-hybrid," in ui.modelsMessage.text
    assert "obelisk-hybrid" in names(panel, "installed")


def test_a_model_that_carries_code_is_installed_on_a_persons_word_alone(panel, ui, dialogs, task, tmp_path) -> None:
    path = str(tmp_path / "model.pt")
    dialogs.paths = [path]
    for asked, (agree, last) in enumerate([(False, ["install", path]), (True, ["install", "--trust-code", path])]):
        dialogs.agree = agree
        ui.installFileButton.click()
        task.last.news = [ModelError("carries-code", "The model is TorchScript.", "Install it with --trust-code.")]
        wait(lambda asked=asked: len(dialogs.asked) > asked)
        assert "TorchScript" in dialogs.asked[-1]
        assert task.started[-1] == last
        assert panel.session.installing is agree
    task.last.news = [ModelError("carries-code", "The model is TorchScript.", "")]
    wait(lambda: not panel.session.installing)
    assert len(dialogs.asked) == 2, "nobody is asked for ever"


def test_what_totalsegmentator_keeps_here_is_installed_without_a_download(
    panel, ui, dialogs, task, tmp_path, monkeypatch
) -> None:
    fold = tmp_path / "Dataset291_TotalSegmentator_part1_organs_1559subj" / "trainer__plans__3d_fullres" / "fold_0"
    fold.mkdir(parents=True)
    (fold / "checkpoint_final.pth").touch()
    monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", str(tmp_path))
    panel.models.list()
    panel.refresh()
    assert "nothing is downloaded" in ui.firstRunText.text
    select(panel, "totalsegmentator-organs")
    assert str(fold.parents[1]) in ui.modelCard.toPlainText()
    ui.installModelButton.click()
    assert "Nothing is downloaded" in dialogs.asked[0]
    assert task.started == [["install", "totalsegmentator-organs"]]


def test_a_download_says_from_where_and_how_much_and_asks(panel, ui, dialogs, task) -> None:
    select(panel, "obelisk-hybrid")
    dialogs.agree = False
    ui.installModelButton.click()
    assert "raw.githubusercontent.com" in dialogs.asked[0]
    assert "3.8 MB" in dialogs.asked[0]
    assert task.started == []
    dialogs.agree = True
    ui.installModelButton.click()
    assert task.started == [["install", "obelisk-hybrid"]]


def test_a_download_shows_its_progress_and_its_end(panel, ui, task) -> None:
    select(panel, "obelisk-hybrid")
    ui.installModelButton.click()
    task.last.news = [Update("download", 1, 4, 0.25, 3.0)]
    wait(lambda: ui.modelProgressBar.value == 25)
    task.last.news = [{"installed": ["obelisk-hybrid"]}]
    wait(lambda: not panel.session.installing)
    assert ui.modelsMessage.text == "Installed: obelisk-hybrid."
    assert ui.modelProgressBar.isHidden()


def test_a_download_that_fails_is_a_sentence(panel, ui, task) -> None:
    select(panel, "obelisk-hybrid")
    ui.installModelButton.click()
    task.last.news = [RunError("no-network", "The server could not be reached.", "Install from a file.")]
    wait(lambda: not panel.session.installing)
    assert ui.modelsMessage.text == "The server could not be reached. Install from a file."
    assert ui.installFileButton.enabled


def test_a_download_is_cancelled_by_the_same_button(panel, ui, task) -> None:
    select(panel, "obelisk-hybrid")
    ui.installModelButton.click()
    assert ui.installModelButton.text == "Cancel"
    assert ui.installModelButton.enabled
    ui.installModelButton.click()
    assert task.last.cancelled
    assert ui.installModelButton.text == "Cancelling..."
    assert ui.installModelButton.toolTip == "The installation is being stopped."
    task.last.news = [Cancelled()]
    wait(lambda: not panel.session.installing)
    assert ui.modelsMessage.text == "Cancelled; nothing was installed."
    assert ui.installModelButton.text == "Install"
    assert names(panel, "installed") == []


def test_a_download_that_was_done_before_it_was_cancelled_is_said_to_be_installed(panel, ui, task) -> None:
    select(panel, "obelisk-hybrid")
    ui.installModelButton.click()
    ui.installModelButton.click()
    task.last.news = [{"installed": ["obelisk-hybrid"]}]
    wait(lambda: not panel.session.installing)
    assert ui.modelsMessage.text == "Installed: obelisk-hybrid."
    assert ui.installModelButton.text == "Install"


def test_closing_the_panel_ends_a_download(panel, ui, task) -> None:
    select(panel, "obelisk-hybrid")
    ui.installModelButton.click()
    panel.models.close()
    assert task.last.ended


def test_another_folder_is_another_store(panel, ui, client, tmp_path, installed) -> None:
    other = tmp_path / "Modelle"
    write_tiny(other / "models" / "other-model", name="other-model")
    ui.modelFolder.currentPath = str(other)
    wait(lambda: names(panel, "installed") == ["other-model"])
    assert os.environ["PANCREASSEG_HOME"] == str(other), "the worker reads it too"
    assert qt.QSettings().value("PancreasSeg/ModelFolder") == str(other)


def test_typing_a_folder_changes_nothing_until_it_is_whole(panel, ui, home, tmp_path, monkeypatch) -> None:
    """CTK tells of every letter."""
    ended = []
    monkeypatch.setattr(panel.session.workflow, "shutdown", lambda: ended.append(panel.session.models.home))
    folder = tmp_path / "Modelle"
    folder.mkdir()
    for length in range(1, len(str(folder)) + 1):
        ui.modelFolder.currentPath = str(folder)[:length]
    assert os.environ["PANCREASSEG_HOME"] == str(home), "he types"
    assert ended == []
    wait(lambda: ended)
    assert ended == [str(folder)]


@pytest.mark.parametrize("typed", ["", "/there/is/no/such/folder"])
def test_a_folder_that_is_none_is_not_taken(panel, ui, home, installed, typed, monkeypatch) -> None:
    ended = []
    monkeypatch.setattr(panel.session.workflow, "shutdown", lambda: ended.append(1))
    ui.modelFolder.currentPath = typed
    panel.models.onTyped()
    assert ended == []
    assert os.environ["PANCREASSEG_HOME"] == str(home)
    assert not qt.QSettings().value("PancreasSeg/ModelFolder")
    assert names(panel, "installed") == [installed]
    assert typed in ui.modelsMessage.text


def test_a_folder_typed_just_before_a_run_waits_for_its_end(panel, ui, client, selected, tmp_path) -> None:
    before = os.environ["PANCREASSEG_HOME"]
    ui.modelFolder.currentPath = str(tmp_path)
    client.held = True
    ui.segmentButton.click()
    panel.models.onTyped()
    assert os.environ["PANCREASSEG_HOME"] == before
    client.held = False
    wait(lambda: os.environ["PANCREASSEG_HOME"] == str(tmp_path))
    assert not panel.session.busy


def test_without_any_model_the_button_says_what_to_do(panel, ui, selected, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("pancreasseg.models.store.bundled_folder", lambda: tmp_path / "none")
    panel.refresh()
    assert not ui.segmentButton.enabled
    assert "No model" in ui.segmentButton.toolTip
    assert "No model" in ui.statusLabel.text


def test_a_model_that_was_chosen_and_is_gone_gives_way_to_the_best_one_with_a_sentence(
    panel, ui, selected, installed, dialogs
) -> None:
    panel.session.parameters.model = installed
    panel.session.parameters.pipeline = "single-stage"
    select(panel, installed)
    ui.removeModelButton.click()
    assert panel.session.parameters.setup == AUTOMATIC
    assert ui.modelSelector.itemData(ui.modelSelector.currentIndex) == ""
    assert ui.segmentButton.enabled
    assert "'tiny-model', which was chosen for this CT, is not installed" in ui.segmentMessage.text


def test_a_scene_of_another_computer_may_name_a_model_that_is_not_here(panel, ui, selected) -> None:
    panel.session.parameters.model = "phantom-two-stage"
    panel.refresh()
    assert panel.session.parameters.model == ""
    assert ui.segmentButton.enabled
    assert "'phantom-two-stage'" in ui.segmentMessage.text
    panel.session.parameters.model = BUNDLED
    panel.refresh()
    assert panel.session.parameters.model == BUNDLED, "one that is here is kept"
