"""Networks in ONNX and TorchScript files: the dialog that asks what they were trained on, and what is made of it."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import slicer
from Testing.helpers import bright_model
from Testing.helpers.bright_files import onnx_bytes, script_bytes
from Testing.helpers.held_task import HeldTask
from Testing.helpers.panel import wait

from pancreasseg.core.errors import ModelError, RunError
from pancreasseg.core.setup import Setup
from pancreasseg.measure.compare import dice
from pancreasseg.models.store import Store
from pancreasseg.pipelines import create
from PancreasSegLib.Panel.CardForm import CardForm
from PancreasSegLib.Panel.Dialogs import Dialogs
from PancreasSegLib.Work.FileCards import Answers, firstAnswers

# PyTorch discourages TorchScript, which people still have.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")

BRIGHT = Answers(
    "bright-file", spacing=(2.0, 2.0, 2.0), patch=(40, 40, 24), window=(0.0, 200.0), training="phantoms", licence="MIT"
)


@pytest.fixture
def home() -> Path:
    """The store's folder."""
    return Path(os.environ["PANCREASSEG_HOME"])


@pytest.fixture
def network(tmp_path) -> Path:
    """A network in a file, in a folder as people have them."""
    path = tmp_path / "from a friend" / "My Netz ü.onnx"
    path.parent.mkdir()
    path.write_bytes(onnx_bytes())
    return path


@pytest.fixture
def task(monkeypatch):
    HeldTask.started = []
    monkeypatch.setattr("PancreasSegLib.Panel.Installer.Task", HeldTask)
    return HeldTask


@pytest.fixture
def form(headless, network):
    """The dialog, open; and what came of it."""
    came: list[Answers] = []
    dialogs = Dialogs()
    made = dialogs.fillCard(network, ["taken"], firstAnswers(network), came.append)
    made.came = came
    yield made
    made.close()


def offered(comboBox) -> list[str]:
    return [comboBox.itemData(n) for n in range(comboBox.count)]


def left(folder: Path) -> list[str]:
    """Everything in a store but its lock."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]


# What a person says


def test_the_first_name_is_made_of_the_files_and_always_one_that_can_be_used() -> None:
    for file, name in (("My Netz ü.onnx", "my-netz"), ("unet_v2.1.pt", "unet_v2.1"), ("模型.onnx", "my-model")):
        assert firstAnswers(Path(file)).name == name
        assert firstAnswers(Path(file)).problem() == ""


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": ""}, "The name must be"),
        ({"name": "Mein Netz"}, "The name must be"),
        ({"name": "taken"}, "A model called 'taken' is there already"),
        ({"classes": ""}, "Name the classes"),
        ({"classes": "pancreas"}, "Name the classes"),
        ({"classes": "background,,pancreas"}, "Name the classes"),
        ({"classes": "1"}, "Name the classes"),
        ({"classes": "0"}, "Name the classes"),
        ({"classes": "999999999999"}, "Name the classes"),
        ({"classes": "background, pancreas, pancreas"}, "Two classes have"),
        ({"pancreas": 2}, "There are the classes 0 to 1"),
        ({"pancreas": 0}, "There are the classes 0 to 1"),
        ({"parts": "1"}, "What belongs to the pancreas"),
        ({"parts": "tumour"}, "What belongs to the pancreas"),
        ({"classes": "4", "parts": "2, 2"}, "What belongs to the pancreas"),
        ({"parts": "9" * 5000}, "What belongs to the pancreas"),
        ({"window": (240.0, -120.0)}, "The window must begin"),
        ({"values": "normalised", "deviation": 0.0}, "The deviation must be"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(change, sentence) -> None:
    said = replace(Answers("net"), **change).problem(["taken"])
    assert said.startswith(sentence)
    assert said.endswith(".")


def test_the_card_says_what_the_person_said() -> None:
    answers = replace(
        BRIGHT, classes=" background, duct , pancreas, tumour", pancreas=2, parts="3, 1", role="localizer"
    )
    card = answers.card()
    assert card["classes"] == ["background", "duct", "pancreas", "tumour"]
    assert (card["pancreas"], card["parts"], card["role"]) == ("pancreas", ["tumour", "duct"], "localizer")
    assert (card["spacing_mm"], card["patch"], card["licence"]) == ([2, 2, 2], [40, 40, 24], "MIT")
    assert "licence" not in replace(BRIGHT, licence=" ").card()


def test_of_many_classes_it_is_enough_to_say_how_many() -> None:
    answers = replace(BRIGHT, classes="25", pancreas=7)
    assert answers.problem() == ""
    names = answers.card()["classes"]
    assert (len(names), names[0], names[6:9]) == (25, "background", ["class 6", "pancreas", "class 8"])


@pytest.mark.parametrize(
    ("change", "values"),
    [
        ({}, {0: 0, 200: 1}),
        ({"values": "symmetric"}, {0: -1, 100: 0, 200: 1}),
        ({"values": "normalised", "mean": 50.0, "deviation": 25.0}, {50: 0, 100: 2}),
    ],
)
def test_hu_become_the_values_that_the_person_means(change, values) -> None:
    card = replace(BRIGHT, **change).card()
    low, high = card["window_hu"]
    scale = card.get("scale", 1 / (high - low))
    for hu, value in values.items():
        assert hu * scale + card.get("shift", -low * scale) == pytest.approx(value)


# The dialog


def test_the_dialog_names_the_file_and_what_it_has_to_know(form, network) -> None:
    assert network.name in form.ui.cardIntroduction.text
    assert "code" not in form.ui.cardIntroduction.text
    assert form.answers == firstAnswers(network)
    assert form.widget.visible
    assert form.widget.windowTitle == "What this network was trained on"
    assert offered(form.ui.cardRole) == ["segmenter", "localizer"]
    assert {"LPS", "RAS", "LAI"} <= set(offered(form.ui.cardOrientation))


def test_answers_are_given_back_as_they_were_typed_and_the_dialog_goes(form) -> None:
    ui = form.ui
    ui.cardName.text = " bright-file "
    ui.cardSpacingX.value = ui.cardSpacingY.value = ui.cardSpacingZ.value = 2.0
    ui.cardPatchX.value, ui.cardPatchY.value, ui.cardPatchZ.value = 40, 40, 24
    ui.cardWindowLow.value, ui.cardWindowHigh.value = 0.0, 200.0
    ui.cardTraining.text, ui.cardLicence.text = "phantoms", "MIT"
    ui.cardInstallButton.click()
    assert form.came == [BRIGHT]
    assert not form.widget.visible


def test_an_answer_that_makes_no_sense_keeps_the_dialog_with_a_sentence(form) -> None:
    form.ui.cardName.text = "taken"
    form.ui.cardInstallButton.click()
    assert form.widget.visible
    assert form.ui.cardMessage.text == "A model called 'taken' is there already; choose another name."
    assert form.came == []
    form.ui.cardName.text = "free"
    form.ui.cardInstallButton.click()
    assert [answers.name for answers in form.came] == ["free"]


def test_cancel_gives_nothing(form) -> None:
    form.ui.cardCancelButton.click()
    assert not form.widget.visible
    assert form.came == []


def test_only_what_is_used_is_asked_for(form) -> None:
    ui = form.ui

    def asked(name: str) -> tuple[bool, bool]:
        ui.cardValues.setCurrentIndex(ui.cardValues.findData(name))
        return not ui.cardWindowLow.isHidden(), not ui.cardNormalMean.isHidden()

    assert {name: asked(name) for name in offered(ui.cardValues)} == {
        "window": (True, False),
        "symmetric": (True, False),
        "normalised": (True, True),
        "z-score": (False, False),
    }


def test_torchscript_is_said_to_carry_code(headless, tmp_path) -> None:
    form = CardForm(tmp_path / "net.pt", (), BRIGHT, lambda _answers: None)
    assert "carries code" in form.ui.cardIntroduction.text
    assert form.answers == BRIGHT
    form.close()


def test_the_dialog_belongs_to_slicers_window_where_there_is_one(headless, network) -> None:
    form = Dialogs().fillCard(network, (), BRIGHT, lambda _answers: None)
    assert form.widget.parent() is slicer.util.mainWindow()
    form.close()


# From the file to the store


def test_a_network_without_a_card_is_asked_about_installed_by_a_real_process_and_segments_in_another_ones_box(
    panel, ui, dialogs, network, home
) -> None:
    dialogs.answers = BRIGHT
    dialogs.paths = [str(network)]
    ui.installFileButton.click()
    assert [file for file, _answers in dialogs.forms] == [network]
    wait(lambda: not panel.session.installing, 60)
    assert ui.modelsMessage.text == "Installed: bright-file."
    facts = Store(home).info("bright-file")
    assert (facts["licence"], facts["training"]["data"]) == ("MIT", "phantoms")
    assert ui.modelSelector.findData("bright-file") > 0
    assert ui.localizerSelector.findData("bright-file") > 0, "it can find the box as well"
    assert list(network.parent.iterdir()) == [network], "nothing is written beside the file"
    bright_model.write_bright_model(home, "finder")
    volume, organ = bright_model.a_patient()
    pipeline = create(Setup(model="finder+bright-file", device="cpu", precision="f32"), Store(home))
    assert dice(pipeline.segment(volume, pipeline.localize(volume)).mask > 0, organ > 0) > 0.9


def test_a_network_with_a_card_beside_it_is_not_asked_about(panel, dialogs, network, task) -> None:
    network.with_suffix(".json").write_text(json.dumps(BRIGHT.card()))
    panel.models.onDropped([str(network)])
    assert dialogs.forms == []
    assert task.started == [["install", str(network)]]


@pytest.mark.parametrize("name", ["model.zip", "fold.pth", "nowhere.onnx"])
def test_what_is_no_network_in_a_file_is_not_asked_about(panel, dialogs, task, tmp_path, name) -> None:
    if name != "nowhere.onnx":
        (tmp_path / name).write_bytes(b"")
    panel.models.onDropped([str(tmp_path / name)])
    assert dialogs.forms == []
    assert task.started == [["install", str(tmp_path / name)]]


def test_who_cancels_the_dialog_installs_nothing(panel, dialogs, network, task) -> None:
    panel.models.onDropped([str(network)])
    assert task.started == []
    assert not panel.session.installing


@pytest.mark.parametrize(
    ("channels", "answers", "sentence"),
    [
        (2, BRIGHT, "cannot compute what this model file describes on an input of 1 x 1 x 24 x 40 x 40; "),
        (1, replace(BRIGHT, classes="3"), "tells 2 classes apart, the card 3"),
    ],
)
def test_what_the_dry_run_finds_is_a_sentence_leaves_the_store_and_keeps_the_answers(
    panel, ui, dialogs, tmp_path, home, channels, answers, sentence
) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(onnx_bytes(channels))
    dialogs.answers = answers
    panel.models.onDropped([str(path)])
    wait(lambda: not panel.session.installing, 60)
    assert sentence in ui.modelsMessage.text
    assert left(home) == []
    dialogs.answers = None
    panel.models.onDropped([str(path)])
    assert dialogs.forms[-1][1] == answers, "nobody types it twice"


def test_torchscript_is_asked_about_runs_only_after_a_word_and_keeps_its_card(
    panel, ui, dialogs, tmp_path, home, monkeypatch
) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(script_bytes())
    dialogs.answers = BRIGHT
    found: list[str] = []
    monkeypatch.setattr(dialogs, "confirm", lambda question: found.extend([question, *left(home)]) or True)
    panel.models.onDropped([str(path)])
    wait(lambda: found, 60)
    assert len(found) == 1, "nothing is installed before the answer"
    assert "carries code" in found[0]
    wait(lambda: not panel.session.installing, 60)
    assert ui.modelsMessage.text == "Installed: bright-file."
    assert Store(home).info("bright-file")["carries_code"]


def test_the_card_is_private_and_gone_when_the_installation_has_ended(panel, dialogs, network, task) -> None:
    dialogs.answers = BRIGHT
    panel.models.onDropped([str(network)])
    _install, option, card, source = task.started[0]
    assert (option, source) == ("--card", str(network))
    assert json.loads(Path(card).read_text()) == BRIGHT.card()
    if os.name == "posix":
        assert Path(card).parent.stat().st_mode & 0o077 == 0
    task.last.news = [ModelError("bad-card", "The card cannot be used.", "")]
    wait(lambda: not panel.session.installing)
    assert not Path(card).parent.exists()


def test_a_runtime_that_is_missing_is_offered_and_the_installation_goes_on(panel, dialogs, network, task) -> None:
    offers = []
    panel.session.offerPackage = lambda error, then: offers.append((error.code, then))
    dialogs.answers = BRIGHT
    panel.models.onDropped([str(network)])
    task.last.news = [RunError("package-missing", "The Python package onnxruntime is not installed.", "")]
    wait(lambda: offers)
    assert offers[0][0] == "package-missing"
    offers[0][1]()
    assert len(task.started) == 2
    assert json.loads(Path(task.started[1][2]).read_text()) == BRIGHT.card()


def test_a_dialog_that_is_answered_while_something_else_is_installed_says_so(
    panel, ui, dialogs, network, task, tmp_path
) -> None:
    waiting = []
    dialogs.fillCard = lambda _file, _taken, _answers, then: waiting.append(then)
    panel.models.onDropped([str(network)])
    panel.models.onDropped([str(tmp_path / "model.zip")])
    waiting[0](BRIGHT)
    assert ui.modelsMessage.text == "A model is being installed."
    assert len(task.started) == 1
