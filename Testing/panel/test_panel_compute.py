"""Advanced, Compute on: off by default, a server after one question that names it, and what is said about it."""

import sys
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import qt
import slicer
from Testing.helpers.actions import mask, run
from Testing.helpers.fakes import FakeClient
from Testing.helpers.panel import aWidget, remove, wait

from pancreasseg.core.errors import RunError
from PancreasSegLib.Work.Compute import Place

TOKEN = "a-token-for-tests-that-is-long-enough"
ADDRESS = "https://gpu.example:8443"


@pytest.fixture
def servers(monkeypatch, client) -> dict[str, FakeClient]:
    """The clients that are made, by address; the one for this computer is the panel's first."""
    made = {"": client}
    monkeypatch.setattr(Place, "client", lambda place, python: made.setdefault(place.address, FakeClient()))
    return made


def choose(ui, text: str) -> None:
    ui.computeSelector.setCurrentIndex([ui.computeSelector.itemText(i) for i in range(2)].index(text))


def connect(panel, address: str = ADDRESS, token: str = TOKEN) -> None:
    ui = panel.ui
    choose(ui, "A server")
    ui.serverAddressEdit.text, ui.serverTokenEdit.text = address, token
    ui.serverConnectButton.click()
    wait(lambda: not panel.session.workflow.describing)


def test_everything_is_computed_here_until_a_person_says_otherwise(panel, ui, client, servers, dialogs, selected):
    assert ui.computeSelector.currentText == "This computer"
    assert not ui.computeGroup.isVisibleTo(panel.widget)
    run(panel)
    assert [name for name, _value in client.requests] == ["load", "localize", "segment"]
    assert set(servers) == {""}
    assert dialogs.asked == []


def test_a_server_is_named_and_agreed_to_once_and_then_computes(panel, ui, client, servers, dialogs, selected):
    connect(panel)
    assert len(dialogs.asked) == 1
    assert "voxels" in dialogs.asked[0]
    assert "gpu.example:8443" in dialogs.asked[0]
    assert ui.serverMessage.text == (
        "gpu.example answers: Fake device, f32, 1.0 of 2.0 GB free; models: Fake model 1, Fine model 2."
    )
    assert ui.statusLabel.text.startswith("on gpu.example · the best model there · Fake device")
    assert ui.modelSelector.itemText(1) == "Fake model 1"
    run(panel)
    assert [name for name, _value in servers[ADDRESS].requests][-3:] == ["load", "localize", "segment"]
    assert client.requests == []
    connect(panel)
    assert len(dialogs.asked) == 1
    connect(panel, "https://other.example")
    assert len(dialogs.asked) == 2
    assert "other.example" in dialogs.asked[1]


def test_a_servers_models_are_mixed_like_those_here(panel, ui, servers, selected):
    connect(panel)
    assert [ui.localizerSelector.itemData(n) for n in range(ui.localizerSelector.count)] == ["", "fake"]
    ui.modelSelector.setCurrentIndex(ui.modelSelector.findData("fine"))
    ui.localizerSelector.setCurrentIndex(ui.localizerSelector.findData("fake"))
    assert ui.statusLabel.text.startswith("on gpu.example · Fine model 2, box by fake")
    run(panel)
    assert next(setup for name, setup in servers[ADDRESS].requests if name == "localize").model == "fake+fine"
    choose(ui, "This computer")
    assert panel.session.parameters.localizer == "", "it is not installed here, as a sentence says"
    assert "'fake'" in ui.segmentMessage.text


def test_a_servers_models_vote_like_those_here(panel, ui, servers, selected):
    connect(panel)
    ui.modelSelector.setCurrentIndex(ui.modelSelector.findData("fine"))
    assert [ui.votersList.item(n).text() for n in range(ui.votersList.count)] == ["Fake model 1", "Fine model 2"]
    ui.votersList.item(0).setCheckState(qt.Qt.Checked)
    assert ui.statusLabel.text.startswith("on gpu.example · Fine model 2 voting with fake")
    run(panel)
    assert next(setup for name, setup in servers[ADDRESS].requests if name == "localize").model == "fine,fake"


def test_who_declines_sends_nothing(panel, ui, client, servers, dialogs, selected):
    dialogs.agree = False
    connect(panel)
    assert ui.serverMessage.text == "Nothing is sent; computing stays on this computer."
    run(panel)
    assert client.requests
    assert set(servers) == {""}


@pytest.mark.parametrize(
    ("address", "token", "words"),
    [
        ("", TOKEN, "not the address of a server"),
        ("ftp://gpu.example", TOKEN, "not the address of a server"),
        ("http://gpu.example", TOKEN, "unencrypted"),
        (ADDRESS, "", "A token has"),
        (ADDRESS, "short", "A token has"),
    ],
)
def test_what_cannot_be_used_is_a_sentence_and_nobody_is_asked(panel, ui, servers, dialogs, address, token, words):
    connect(panel, address, token)
    assert words in ui.serverMessage.text
    assert dialogs.asked == []
    assert set(servers) == {""}


def test_a_server_that_does_not_answer_is_a_sentence_where_it_was_asked_and_in_the_status_line(panel, ui, servers):
    lost = RunError("server-unreachable", "The server gpu.example cannot be reached.", "See that it runs.")
    servers[ADDRESS] = FakeClient()
    servers[ADDRESS].fail["hello"] = lost
    connect(panel)
    assert ui.serverMessage.text == str(lost)
    assert "cannot be reached" in ui.statusLabel.text
    connect(panel)
    assert "answers" in ui.serverMessage.text


def test_back_on_this_computer_nothing_is_sent_any_more(panel, ui, client, servers, selected):
    connect(panel)
    asked = len(servers[ADDRESS].requests)
    choose(ui, "This computer")
    assert not ui.computeGroup.isVisibleTo(panel.widget)
    run(panel)
    assert len(servers[ADDRESS].requests) == asked
    assert "segment" in [name for name, _value in client.requests]
    assert "gpu.example" not in ui.statusLabel.text


def test_it_cannot_be_changed_in_the_middle_of_a_run(panel, ui, client, servers, selected):
    client.held = True
    ui.segmentButton.click()
    assert not ui.computeSelector.enabled
    assert "run is going on" in ui.computeSelector.toolTip
    client.held = False
    wait(lambda: panel.settled)
    assert ui.computeSelector.enabled


def test_packages_that_are_missing_here_keep_nobody_from_a_server(panel, ui, servers, dialogs, selected, monkeypatch):
    monkeypatch.setattr("PancreasSegLib.Work.Dependencies.missing", lambda: ("torch",))
    connect(panel)
    run(panel)
    assert panel.session.parameters.hasSegment()
    assert len(dialogs.asked) == 1, "nobody is asked to install anything"


@pytest.fixture
def another(module, dialogs, servers):
    """Makes the panel anew, as when Slicer is started again."""
    from PancreasSegLib.Panel.Panel import Panel
    from PancreasSegLib.Work.Workflow import Workflow

    made = []

    def make():
        widget = aWidget()
        built = Panel(slicer.util.childWidgetVariables(widget), Workflow(FakeClient()), sys.executable, dialogs)
        made.append((built, widget))
        return built

    yield make
    for built, widget in made:
        built.close()
        remove(widget)


def test_the_server_is_still_chosen_when_slicer_is_started_again(panel, servers, dialogs, another):
    connect(panel)
    again = another()
    assert again.session.place.address == ADDRESS
    assert again.session.workflow.client is servers[ADDRESS]
    assert again.ui.serverTokenEdit.text == TOKEN
    assert len(dialogs.asked) == 1
    choose(panel.ui, "This computer")
    assert not another().session.place.remote


def test_settings_that_name_a_machine_nobody_agreed_to_send_nothing_there(panel, servers, another):
    from Testing.standins import qt

    connect(panel)
    qt.QSettings().setValue("PancreasSeg/Compute/Address", "https://elsewhere.example:8443")
    again = another()
    assert not again.session.place.remote
    assert again.ui.computeSelector.currentText == "This computer"
    assert "https://elsewhere.example:8443" not in servers


def test_the_token_never_stands_on_a_command_line_or_in_a_text_about_the_place():
    place = Place.server(ADDRESS, TOKEN, "/etc/ca.pem")
    assert TOKEN not in repr(place)
    command = ["python", "-m", "pancreasseg.remote", ADDRESS, "--authority", "/etc/ca.pem"]
    assert started_by(place) == (command, {"PANCREASSEG_TOKEN": TOKEN})
    assert started_by(replace(place, address=""))[0] == ["python", "-m", "pancreasseg.worker"]


def started_by(place: Place) -> tuple[list[str], dict[str, str]]:
    """The command and the variables that a client of this place starts its process with."""
    with mock.patch("pancreasseg.worker.client.WorkerProcess") as process, place.client("python") as client:
        client.hello()
    return process.call_args.args


def test_a_click_goes_through_a_real_server(panel, ui, selected, tmp_path):
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    from Testing.helpers.remote import TOKEN, serving
    from Testing.helpers.worker_talk import DOUBLE

    with serving(tmp_path, worker=[*DOUBLE, "named"]) as server:
        connect(panel, str(server.address), TOKEN)
        assert ui.serverMessage.text == "127.0.0.1 answers: Double, f32, 1 GB free; models: none."
        run(panel)
        parameters = panel.session.parameters
        bright = slicer.util.arrayFromVolume(selected) > 100
        np.testing.assert_array_equal(mask(parameters) > 0, bright)
        assert ui.statisticsTable.rowCount > 20
        panel.session.workflow.shutdown()
