"""Where the network looked, chosen in the panel and laid over the CT."""

from dataclasses import replace

import numpy as np
import pytest
import slicer
import slicer.util
from Testing.helpers.actions import run
from Testing.helpers.attentive_model import NAMES, write_attentive_model
from Testing.helpers.fakes import FakeClient
from Testing.helpers.panel import wait

from pancreasseg.core.errors import RunError
from pancreasseg.core.results import Attention, Segmentation
from pancreasseg.core.setup import AUTOMATIC


class AttentiveClient(FakeClient):
    """The fake worker with the model `attentive`; a map grows along the box's slices and says by its start which it is.

    Attributes:
        models: what the provenance of results names.
    """

    models: tuple = ()

    def attention(self, box, maps=None, setup=AUTOMATIC) -> int:
        self.asked = setup
        (name,) = maps
        ramp = np.linspace(0.1 * (1 + NAMES.index(name)), 0.9, box.shape[0], dtype=np.float32)
        array = np.broadcast_to(ramp[:, None, None], box.shape).copy()
        return self.take("attention", (box, name), Attention(box, {name: array}))

    def take(self, name, asked, value, final="result") -> int:
        if isinstance(value, Segmentation):
            value = replace(value, provenance=replace(value.provenance, pipeline="single-stage", models=self.models))
        return super().take(name, asked, value, final)


@pytest.fixture
def client(headless, tmp_path) -> AttentiveClient:
    package = write_attentive_model(tmp_path / "home")
    client = AttentiveClient()
    client.models = ({"name": "attentive", "version": "1.0.0", "sha256": package.card.weights.sha256},)
    return client


@pytest.fixture
def composite(scene):
    return scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")


def choose(panel, index: int) -> None:
    panel.ui.attentionSelector.setCurrentIndex(index)
    wait(lambda: not panel.session.busy)


def entries(ui) -> list[str]:
    return [ui.attentionSelector.itemText(n) for n in range(ui.attentionSelector.count)]


def test_a_map_is_fetched_shown_changed_and_hidden(panel, ui, client, selected, composite) -> None:
    assert not ui.attentionSelector.enabled
    assert "no result yet" in ui.attentionSelector.toolTip
    run(panel)
    assert ui.attentionSelector.enabled
    assert entries(ui)[:3] == ["Hidden", "level 1, mean of its heads", "level 1, head 1"]
    assert len(entries(ui)) == 1 + len(NAMES)
    client.requests.clear()
    choose(panel, 1)
    parameters = panel.session.parameters
    box = parameters.segmentedBox
    assert client.requests == [("attention", (box, "level-1-mean"))]
    assert (client.asked.model, client.asked.pipeline) == ("attentive", "single-stage")
    node = parameters.attentionNode
    assert composite.GetForegroundVolumeID() == node.GetID()
    assert slicer.util.arrayFromVolume(node).shape == box.shape
    assert ui.attentionSelector.currentIndex == 1
    assert "0.10 (dark) to 0.90 (bright)" in ui.segmentMessage.text
    choose(panel, 6)
    assert slicer.util.arrayFromVolume(node).min() == pytest.approx(0.6)
    choose(panel, 0)
    assert composite.GetForegroundVolumeID() is None
    client.requests.clear()
    choose(panel, 6)
    assert client.requests == [], "the map is there already"
    assert composite.GetForegroundVolumeID() == node.GetID()
    assert panel.session.parameters.hasSegment()


def test_a_new_result_takes_the_map_of_the_earlier_one_away(panel, ui, selected, composite) -> None:
    run(panel)
    choose(panel, 2)
    run(panel)
    wait(lambda: panel.session.parameters.attentionNode is None)
    assert composite.GetForegroundVolumeID() is None
    assert ui.attentionSelector.currentIndex == 0


def test_a_model_without_gates_says_so_in_the_tooltip(panel, ui, client, selected) -> None:
    client.models = ({"name": "pancreas-ct", "version": "1.0.0", "sha256": "0"},)
    run(panel)
    assert not ui.attentionSelector.enabled
    assert '"pancreas-ct" has no attention gates' in ui.attentionSelector.toolTip


def test_a_request_that_fails_or_is_cancelled_leaves_the_selector_at_hidden(panel, ui, client, selected) -> None:
    run(panel)
    client.fail["attention"] = RunError("out-of-memory", "There is not enough memory.", "Close other programs.")
    choose(panel, 1)
    assert ui.attentionSelector.currentIndex == 0
    assert "not enough memory" in ui.segmentMessage.text
    client.held = True
    ui.attentionSelector.setCurrentIndex(2)
    assert not ui.attentionSelector.enabled
    assert ui.attentionSelector.currentIndex == 2, "what is being fetched"
    assert ui.segmentButton.text == "Cancel"
    ui.segmentButton.click()
    client.held = False
    wait(lambda: not panel.session.busy)
    assert "Cancelled" in ui.segmentMessage.text
    assert ui.attentionSelector.currentIndex == 0
    assert panel.session.parameters.attentionNode is None
