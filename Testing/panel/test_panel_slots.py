"""Nothing that a person clicks may fail in silence: PythonQt and VTK only print what a slot raises."""

import ast
from pathlib import Path

import pytest
from Testing.helpers.actions import edit, run
from Testing.helpers.panel import MODULE, wait
from Testing.standins import qt

PANEL = MODULE.parent / "PancreasSegLib" / "Panel"
CALLED = {"connect": 1, "add": 2, "AddObserver": 1}


def slotsOf(tree: ast.Module) -> set[str]:
    """Methods marked as slots."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return {f.name for f in functions if any(isinstance(d, ast.Name) and d.id == "slot" for d in f.decorator_list)}


def receiversOf(tree: ast.Module) -> list[ast.expr]:
    """What is connected to signals, timers and the scene's events."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    return [
        call.args[CALLED[call.func.attr]]
        for call in calls
        if len(call.args) > CALLED.get(call.func.attr, len(call.args))
    ]


@pytest.mark.parametrize("path", sorted(PANEL.glob("*.py")), ids=lambda p: p.name)
def test_whatever_qt_or_the_scene_calls_is_a_slot(path: Path) -> None:
    trees = {it: ast.parse(it.read_text(encoding="utf-8")) for it in PANEL.glob("*.py")}
    slots = {name for tree in trees.values() for name in slotsOf(tree)}
    tree = trees[path]
    for receiver in receiversOf(tree):
        called = receiver.body.func if isinstance(receiver, ast.Lambda) else receiver
        if ast.unparse(called).startswith("self._t") and ast.unparse(called).endswith(".start"):
            continue  # a timer that is started
        if isinstance(called, ast.Attribute):
            assert called.attr in slots, f"{path.name}: {ast.unparse(receiver)} is no slot"


def test_a_click_that_fails_in_any_way_leaves_a_sentence(
    panel, ui, dialogs, selected, monkeypatch, mistakes, tmp_path
) -> None:
    ui.exportFolder.setCurrentPath(str(tmp_path))
    run(panel)
    edit(panel.session.parameters)
    wait(lambda: panel.settled and ui.restoreDraftButton.enabled)
    dialogs.path = str(tmp_path / "x.csv")

    def fail(*_arguments, **_settings):
        raise TypeError("an argument that only another version of a library knows")

    for place, button, label in (
        ("Work.Export.write", "niftiButton", "exportMessage"),
        ("Work.Export.addMargin", "addMarginButton", "exportMessage"),
        ("Work.Statistics.draftMask", "restoreDraftButton", "correctMessage"),
        ("Work.Statistics.showChart", "chartButton", "statisticsMessage"),
        ("Scene.Tables.showMeasurements", "tableButton", "statisticsMessage"),
        ("Scene.RoiNodes.dressRoiNode", "roiSelector", "locateMessage"),
        ("Panel.InputSection.Task", "phantomButton", "inputMessage"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(f"PancreasSegLib.{place}", fail)
            widget = getattr(ui, button)
            widget.addNode() if button == "roiSelector" else widget.click()
        said = getattr(ui, label)
        assert said.text == "Something went wrong that should not have (TypeError).", button
        assert not said.isHidden()
    assert {type(it) for it in mistakes} == {TypeError}
    mistakes.clear()


def test_a_slot_is_spared_the_arguments_that_it_does_not_take(panel, ui, selected) -> None:
    """PythonQt sees a decorator that takes anything, and hands every argument on."""
    button = qt.QPushButton()
    button.connect("clicked(bool)", panel.segment.onButton)
    button.click()
    assert panel.session.busy
    wait(lambda: panel.settled)


@pytest.mark.parametrize(("version", "works"), [((5, 10), False), ((5, 12), True), ((6, 0), True)])
def test_a_slicer_that_is_too_old_is_a_sentence_in_place_of_the_panel(module, version, works, monkeypatch) -> None:
    import slicer

    import PancreasSeg

    monkeypatch.setattr(slicer.app, "majorVersion", version[0])
    monkeypatch.setattr(slicer.app, "minorVersion", version[1])
    widget = PancreasSeg.PancreasSegWidget()
    widget.setup()
    try:
        assert (widget.panel is not None) == works
        labels = [it.text for it in widget.parent.findChildren(qt.QLabel)]
        sentence = (
            f"PancreasSeg needs 3D Slicer 5.12 or later; this is {version[0]}.{version[1]}. Install it from slicer.org."
        )
        assert (sentence in labels) != works
        if not works:
            assert PancreasSeg.PancreasSegLogic().refusal(None) == sentence
            widget.enter()
            widget.exit()
    finally:
        widget.cleanup()
