"""The large button: run, progress, cancel, hand work, options."""

import ast
import importlib
import os
import re
from pathlib import Path

import numpy as np
import pytest
from Testing.helpers.actions import edit, mask, run
from Testing.helpers.model_samples import CARD, write_tiny
from Testing.helpers.panel import MODULE, wait

from pancreasseg.core.errors import InputError
from pancreasseg.core.finding import Finding, Severity
from pancreasseg.core.progress import Update
from pancreasseg.core.setup import Setup
from PancreasSegLib.Scene import RoiNodes, Segments
from PancreasSegLib.Work.Models import Models


def test_one_click_runs_both_stages_and_brings_box_segment_and_numbers(panel, ui, client, selected) -> None:
    run(panel)
    assert [name for name, _ in client.requests] == ["load", "localize", "segment"]
    parameters = panel.session.parameters
    assert mask(parameters).any()
    assert RoiNodes.boxOfRoi(parameters.roiNode, selected) == client.box()
    assert ui.roiSelector.currentNode() is parameters.roiNode
    assert ui.segmentEditor.segmentationNode() is parameters.segmentationNode
    assert ui.segmentEditor.currentSegmentID() == parameters.segmentId
    assert ui.segmentEditor.sourceVolumeNode() is selected
    assert ui.statisticsTable.rowCount > 20
    assert ui.correctSection.collapsed, "it opens on demand, so that Export stays near"


def test_the_button_turns_into_cancel_and_back(panel, ui, client, selected) -> None:
    client.held = True
    assert ui.segmentButton.text == "Segment pancreas"
    ui.segmentButton.click()
    assert ui.segmentButton.text == "Cancel"
    assert ui.segmentButton.enabled
    client.held = False
    wait(lambda: not panel.session.busy)
    assert ui.segmentButton.text == "Segment pancreas"


def test_cancel_leaves_the_scene_as_it_was(panel, ui, client, selected) -> None:
    client.held = True
    ui.segmentButton.click()
    ui.segmentButton.click()
    assert ui.segmentButton.text == "Cancelling..."
    assert not ui.segmentButton.enabled
    wait(lambda: not panel.session.busy)
    assert ui.segmentMessage.text == "Cancelled; nothing was changed."
    assert panel.session.parameters.segmentationNode is None
    run(panel)
    assert mask(panel.session.parameters).any(), "the next click works"


def test_a_double_click_starts_one_run_and_does_not_cancel_it(panel, ui, client, selected, monkeypatch) -> None:
    monkeypatch.setattr("PancreasSegLib.Panel.Runner.DOUBLE_CLICK_SECONDS", 60.0)
    client.held = True
    ui.segmentButton.click()
    ui.segmentButton.click()
    client.held = False
    wait(lambda: not panel.session.busy)
    assert [name for name, _ in client.requests].count("segment") == 1
    assert mask(panel.session.parameters).any()


def test_progress_shows_stage_share_and_time_left(panel, ui, selected) -> None:
    panel.runner.onProgress(Update("fine", 1, 2, 0.52, 12.4))
    assert ui.progressBar.value == 52
    assert ui.progressLabel.text == "Segmenting · about 12 s left"
    panel.runner.onProgress(Update("coarse", 0, 2, 0.0, None))
    assert ui.progressLabel.text == "Finding the pancreas"
    panel.runner.onProgress(Update("fine", 1, 2, 0.1, 200))
    assert ui.progressLabel.text == "Segmenting · about 3 min left"


ENGINE = MODULE.parent / "pancreasseg"
ANNOUNCING = [*sorted((ENGINE / "pipelines").glob("*.py")), ENGINE / "runs" / "run.py", ENGINE / "worker" / "server.py"]


def stages_in(path: Path) -> set[str]:
    """What a file of the engine announces: in `localizing` and `segmenting`, and by entering a stage."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name in ("localizing", "segmenting"):
            pairs = [it for it in ast.walk(node) if isinstance(it, ast.Tuple) and len(it.elts) == 2]
            found |= {pair.elts[0].value for pair in pairs if isinstance(pair.elts[0], ast.Constant)}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "stage":
            assert isinstance(node.args[0], ast.Constant), f"{path.name} announces what only it knows"
            found.add(node.args[0].value)
    return found


@pytest.mark.parametrize("path", [p for p in ANNOUNCING if stages_in(p)], ids=lambda p: p.name)
def test_every_stage_that_the_engine_announces_has_a_text(panel, ui, selected, path) -> None:
    for stage in stages_in(path):
        panel.runner.onProgress(Update(stage, 0, 1, 0.0, None))
        assert re.fullmatch(r"[A-Z][a-z]+ing( [a-zA-Z]+)*", ui.progressLabel.text), f"{stage!r} has no text"


def test_every_pipeline_is_among_the_files_whose_stages_are_read() -> None:
    from pancreasseg.pipelines import names
    from pancreasseg.pipelines.base import Pipeline

    for path in ANNOUNCING[:-2]:
        importlib.import_module(f"pancreasseg.pipelines.{path.stem}")
    classes = {cls for it in Pipeline.__subclasses__() for cls in (it, *it.__subclasses__())}
    written = {stage for path in ANNOUNCING[:-2] for stage in stages_in(path)}
    assert len(classes) >= len(set(names()) - {"fast"}), "fast is two-stage with one box"
    assert {"coarse", "fine", "organs", "window", "body", "search", "fusion"} <= written


def test_progress_of_the_whole_run_never_goes_back(panel, client, selected) -> None:
    shown = []
    panel.runner.onProgress.subscribe(lambda update: shown.append(update.fraction))
    run(panel)
    assert shown == sorted(shown)
    assert len(shown) >= 3
    assert shown[-1] < 1


def test_the_progress_bar_is_there_only_while_a_run_is_going_on(panel, ui, client, selected) -> None:
    assert ui.progressBar.isHidden()
    client.held = True
    ui.segmentButton.click()
    assert not ui.progressBar.isHidden()
    client.held = False
    wait(lambda: not panel.session.busy)
    assert ui.progressBar.isHidden()


def test_what_must_be_known_during_a_run_is_said_at_once(panel, ui, client, selected) -> None:
    client.held = True
    ui.segmentButton.click()
    panel.runner.onNotice(Finding("smaller-tiles", Severity.WARNING, "Smaller tiles are used now."))
    assert ui.segmentMessage.text == "Smaller tiles are used now."
    client.held = False
    wait(lambda: not panel.session.busy)


def test_findings_are_shown_with_a_colour_the_serious_ones_first(panel, ui, client, selected) -> None:
    client.findings = (
        Finding("small", Severity.WARNING, "Small <5 ml."),
        Finding("none", Severity.SERIOUS, "No pancreas was found."),
    )
    run(panel)
    text = ui.findingsLabel.text
    assert text.index("No pancreas") < text.index("Small &lt;5 ml.")
    assert "#c62828" in text
    assert "#b26a00" in text


def test_locate_shows_the_box_without_segmenting(panel, ui, client, selected) -> None:
    ui.locateButton.click()
    wait(lambda: not panel.session.busy)
    parameters = panel.session.parameters
    assert RoiNodes.boxOfRoi(parameters.roiNode, selected) == client.box()
    assert parameters.segmentationNode is None
    assert ui.roiFactsLabel.text == "10 x 9 x 40 mm · 3 ml · 12 x 12 x 8 voxels"
    run(panel)
    assert dict(client.requests)["segment"] is None, "the box is the engine's own, so all its candidates vote"


def test_a_moved_box_marks_the_result_as_stale_and_one_click_runs_inside_it(panel, ui, client, selected) -> None:
    run(panel)
    assert ui.staleLabel.isHidden()
    roiNode = panel.session.parameters.roiNode
    size = np.array(roiNode.GetSize())
    roiNode.SetSize(*(size * [1.5, 1, 1]))
    wait(lambda: not ui.staleLabel.isHidden())
    assert ui.segmentButton.text == "Segment again inside the ROI"
    before = len(client.requests)
    run(panel)
    box = RoiNodes.boxOfRoi(roiNode, selected)
    assert client.requests[before:] == [("segment", box)], "neither loading nor locating: the worker is warm"
    assert ui.staleLabel.isHidden()
    assert ui.segmentButton.text == "Segment pancreas inside the ROI"


def test_undo_brings_back_the_state_before_the_run(panel, ui, client, selected) -> None:
    run(panel)
    parameters = panel.session.parameters
    first = mask(parameters)
    RoiNodes.setBox(parameters.roiNode, client.box().grow(2, client.geometry), selected)
    run(panel)
    assert not np.array_equal(mask(parameters), first)
    ui.segmentEditor.undo()
    np.testing.assert_array_equal(mask(parameters), first)


def test_hand_work_is_replaced_only_after_asking(panel, ui, client, dialogs, selected) -> None:
    run(panel)
    parameters = panel.session.parameters
    drawn = edit(parameters)
    dialogs.agree = False
    ui.segmentButton.click()
    assert "edited by hand" in dialogs.asked[0]
    assert not panel.session.busy
    np.testing.assert_array_equal(mask(parameters), drawn)
    assert ui.segmentMessage.text == "The corrected segment was kept."
    dialogs.agree = True
    run(panel)
    assert mask(parameters).sum() > drawn.sum()
    ui.segmentEditor.undo()
    np.testing.assert_array_equal(mask(parameters), drawn)


def test_a_segment_that_was_not_touched_is_replaced_without_asking(panel, dialogs, selected) -> None:
    run(panel)
    run(panel)
    assert dialogs.asked == []


def test_the_overwrite_mode_of_the_segment_editor_is_honoured(panel, ui, client, selected) -> None:
    run(panel)
    parameters = panel.session.parameters
    node, editor = parameters.segmentationNode, ui.segmentEditor.mrmlSegmentEditorNode()
    other = node.GetSegmentation().AddEmptySegment("tumour", "Tumour")
    drawn = np.zeros_like(mask(parameters))
    drawn[client.box().slices] = 1
    Segments.writeMask(drawn, node, other, selected)
    assert editor.GetOverwriteMode() == editor.OverwriteNone
    run(panel)
    np.testing.assert_array_equal(Segments.readMask(node, other, selected), drawn)
    editor.SetOverwriteMode(editor.OverwriteAllSegments)
    run(panel)
    left = Segments.readMask(node, other, selected)
    np.testing.assert_array_equal(left != 0, (drawn != 0) & (mask(parameters) == 0))
    assert "Tumour" in ui.segmentMessage.text
    ui.segmentEditor.undo()
    np.testing.assert_array_equal(Segments.readMask(node, other, selected), drawn)


def test_a_hidden_segment_is_spared_when_only_visible_ones_are_overwritten(panel, ui, client, selected) -> None:
    run(panel)
    parameters = panel.session.parameters
    node, editor = parameters.segmentationNode, ui.segmentEditor.mrmlSegmentEditorNode()
    other = node.GetSegmentation().AddEmptySegment("tumour", "Tumour")
    drawn = np.zeros_like(mask(parameters))
    drawn[client.box().slices] = 1
    Segments.writeMask(drawn, node, other, selected)
    node.GetDisplayNode().SetSegmentVisibility(other, False)
    editor.SetOverwriteMode(editor.OverwriteVisibleSegments)
    run(panel)
    np.testing.assert_array_equal(Segments.readMask(node, other, selected), drawn)


def test_fast_and_accurate_are_two_pipelines(panel, ui, client, selected) -> None:
    ui.fastRadioButton.click()
    run(panel)
    assert panel.session.parameters.pipeline == "fast"
    ui.accurateRadioButton.click()
    assert panel.session.parameters.pipeline == "two-stage"


def options_asked(client) -> list[dict | None]:
    """The options of each request to localize."""
    return [dict(asked.options) or None for name, asked in client.requests if name == "localize"]


def test_the_margin_reaches_the_engine_also_when_the_pipeline_is_left_to_it(panel, ui, client, selected) -> None:
    parameters = panel.session.parameters
    assert ui.marginSlider.value == panel.session.models.marginOf(parameters.setup)
    ui.locateButton.click()
    wait(lambda: not panel.session.busy)
    ui.marginSlider.value = 31
    for click in (lambda: None, ui.fastRadioButton.click, ui.accurateRadioButton.click):
        click()
        ui.locateButton.click()
        wait(lambda: not panel.session.busy)
    assert options_asked(client) == [None, *[{"margin_mm": 31.0}] * 3], "until one is chosen, it is the model's own"


def test_a_pipeline_without_a_margin_says_so_and_is_asked_for_none(panel, ui, client, selected) -> None:
    ui.marginSlider.value = 25
    ui.pipelineSelector.setCurrentIndex(ui.pipelineSelector.findData("single-stage"))
    assert not ui.marginSlider.enabled
    assert ui.marginSlider.toolTip == "The pipeline 'single-stage' leaves no margin around what it finds."
    ui.locateButton.click()
    wait(lambda: not panel.session.busy)
    assert options_asked(client) == [None]


def test_the_margins_shown_are_those_of_the_engine_and_of_the_models_card(panel, ui, selected) -> None:
    from pancreasseg.pipelines import names
    from pancreasseg.pipelines.mask_rcnn import MaskRcnnOptions
    from pancreasseg.pipelines.two_stage import TwoStageOptions

    own = {"two-stage": TwoStageOptions().margin_mm, "mask-rcnn": MaskRcnnOptions().margin_mm}
    shown = {name: Models().marginOf(Setup(name, "no-such-model")) for name in names()}
    assert {name: margin for name, margin in shown.items() if margin} == {**own, "fast": own["two-stage"]}
    (network,) = CARD["networks"]
    networks = [{**network, "role": "localizer", "members": ["one"]}, {**network, "members": ["two"]}]
    folder = Path(os.environ["PANCREASSEG_HOME"]) / "models" / "wide"
    write_tiny(folder, name="wide", pipeline="two-stage", networks=networks, options={"margin_mm": 14.0})
    panel.models.list()
    ui.modelSelector.setCurrentIndex(ui.modelSelector.findData("wide"))
    assert ui.marginSlider.value == 14
    assert Models().marginOf(Setup(model="pancreas-ct")) == 25


def test_nothing_is_lost_when_replacing_is_impossible_to_ask(panel, ui, client, dialogs, selected) -> None:
    """A refusal other than "edited by hand" is no question."""
    client.fail["segment"] = InputError("box-outside-volume", "The box lies outside.", "")
    run(panel)
    assert dialogs.asked == []
    assert ui.segmentMessage.text == "The box lies outside."


def test_a_refresh_looks_the_model_and_the_parameters_up_once(panel, ui, selected, monkeypatch) -> None:
    from pancreasseg import pipelines
    from PancreasSegLib.Scene.Parameters import Parameters

    run(panel)
    asked = []
    cast, forVolume = pipelines.cast, Parameters.forVolume
    monkeypatch.setattr(pipelines, "cast", lambda *them: asked.append("model") or cast(*them))
    monkeypatch.setattr(Parameters, "forVolume", lambda node: asked.append("parameters") or forVolume(node))
    panel.refresh()
    assert sorted(asked) == ["model", "parameters"]
    panel.refresh()
    assert sorted(asked) == ["model"] * 2 + ["parameters"] * 2, "and anew the next time"
