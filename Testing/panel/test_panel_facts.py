"""Nothing is used that Slicer's real widgets, or PythonQt, lack."""

import ast
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from PySide6 import QtCore, QtWidgets
from Testing.helpers.panel import MODULE
from Testing.standins import ctk, facts, qmrml, qt, uiloader

UI = MODULE.parent / "Resources" / "UI"
TREE, FORM = (ElementTree.parse(UI / f"{name}.ui").getroot() for name in ("PancreasSeg", "PancreasSegCard"))  # noqa: S314
NAMED = [(it.get("name"), it) for tree in (TREE, FORM) for it in tree.iter("widget")]
WIDGETS = dict(NAMED)
PANEL = sorted((MODULE.parent / "PancreasSegLib" / "Panel").glob("*.py"))
STANDINS = [
    c
    for module in (ctk, qmrml)
    for n, c in vars(module).items()
    if n.startswith(("ctk", "qMRML")) and isinstance(c, type)
]
# Called by Qt itself, so they are no part of what a stand-in offers.
VIRTUAL = {"event", "paintEvent", "showEvent", "sizeHint", "minimumSizeHint", "hitButton", "staticMetaObject"}
# Of every Python subclass: the habits of PythonQt.
HABITS = {"connect", "disconnect"}


@pytest.mark.parametrize("name", WIDGETS)
def test_every_property_in_the_ui_file_belongs_to_its_widget(name) -> None:
    widget = WIDGETS[name]
    used = {it.get("name") for it in widget.findall("property")}
    assert used <= facts.properties(widget.get("class"))


def test_every_connection_in_the_ui_file_is_between_what_the_widgets_have() -> None:
    connections = list(TREE.iter("connection"))
    assert connections
    for connection in connections:
        part = {it.tag: it.text for it in connection}
        assert part["signal"] in facts.signals(WIDGETS[part["sender"]].get("class"))
        assert part["slot"] in facts.slots(WIDGETS[part["receiver"]].get("class"))


def test_no_two_widgets_share_a_name() -> None:
    assert len(WIDGETS) == len(NAMED)


def test_every_widget_that_shows_nodes_gets_the_scene_from_the_ui_file() -> None:
    wired = {it.findtext("receiver") for it in TREE.iter("connection")}
    # The Segment Editor wants its own node before the scene, which is why the code gives it both.
    given = {"PancreasSeg", "segmentEditor"}
    assert wired == {name for name, it in WIDGETS.items() if it.get("class").startswith("qMRML")} - given


def test_the_top_widget_is_a_qmrml_widget() -> None:
    assert TREE.find("widget").get("class") == "qMRMLWidget"


def test_the_ui_file_says_where_its_own_widget_classes_come_from() -> None:
    declared = {it.findtext("class") for it in TREE.iter("customwidget")}
    assert declared == {it.get("class") for it in WIDGETS.values() if not it.get("class").startswith("Q")}


@pytest.mark.parametrize(
    "name", [n for n in WIDGETS if not n.endswith(("Section", "Group")) and not n.startswith("PancreasSeg")]
)
def test_every_widget_has_a_tooltip(name) -> None:
    tip = WIDGETS[name].find("property[@name='toolTip']/string")
    assert tip is not None
    assert tip.text.endswith(".")


@pytest.mark.parametrize(
    "name", [n for n, it in WIDGETS.items() if n.endswith("Label") and it.find("property[@name='text']") is not None]
)
def test_labels_end_with_a_colon(name) -> None:
    text = WIDGETS[name].findtext("property[@name='text']/string")
    assert text.endswith((":", ".")), "a label of a field, or a sentence"


@pytest.mark.parametrize("cls", STANDINS, ids=lambda c: c.__name__)
def test_a_stand_in_offers_nothing_that_the_real_widget_lacks(cls) -> None:
    offered = {n for c in cls.__mro__ if c.__module__.startswith("Testing.standins.") for n in vars(c)}
    own = {n for n in offered if not n.startswith("_")} - VIRTUAL - HABITS
    native = {
        n for n in own if hasattr(qt.QAbstractButton, n) or hasattr(getattr(qt, facts.lineage(cls.__name__)[-1]), n)
    }
    signals = {s.split("(")[0] for s in facts.signals(cls.__name__)}
    lacking = own - native - facts.properties(cls.__name__) - facts.methods(cls.__name__) - signals
    assert lacking <= {"className", "name"}


def test_a_stand_in_refuses_what_does_not_exist() -> None:
    with pytest.raises(AttributeError):
        qt.QPushButton("x").txet = "y"
    with pytest.raises(AttributeError):
        ctk.ctkCollapsibleButton().colapsed = True
    with pytest.raises(ValueError, match="cliked"):
        qt.QPushButton("x").connect("cliked()", print)
    with pytest.raises(ValueError, match="currentNodeChanged"):
        qmrml.qMRMLNodeComboBox().connect("currentNodeChanged(vtkMRMLVolumeNode*)", print)
    with pytest.raises(LookupError):
        uiloader.standIn("qMRMLNoSuchWidget")


def test_a_stand_in_has_pythonqts_habits() -> None:
    button = qt.QPushButton("Go")
    button.text = "Stop"
    assert (button.text, button.enabled) == ("Stop", True)
    seen = []
    button.connect("clicked(bool)", lambda: seen.append("surplus argument dropped"))
    button.click()
    assert seen == ["surplus argument dropped"]
    assert "connect" not in vars(QtWidgets.QPushButton), "PySide6's own class is left alone"


def calls(tree: ast.AST) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def words(node: ast.AST) -> str:
    return ast.unparse(node)


@pytest.mark.parametrize("path", PANEL, ids=lambda p: p.name)
def test_no_construct_that_pythonqt_lacks(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert not re.search(r"\bqt\.(Signal|Slot|Property)\b", text), "there are none in PythonQt"
    assert not re.search(r"\.emit\(|\.exec\(", text)
    assert not re.search(r"\bqt\.\w+\.[A-Z]\w+\.[A-Z]\w+", text), "enums have no scopes in PythonQt"
    assert not re.search(r"isinstance\([^)]*\bqt\.", text)
    for call in calls(tree):
        spoken = words(call.func)
        if spoken.startswith("qt.") or re.search(r"\b(ui|widget|table|selector|editor|comboBox)\.\w+\.?\w*$", spoken):
            assert not call.keywords, f"PythonQt takes no keyword arguments: {spoken}"
        if spoken.endswith(".connect"):
            assert isinstance(call.args[0], ast.Constant), "signals are named by their signature"


def every_property() -> set[str]:
    """Names of all properties of Qt's own classes."""
    names = set()
    for cls in (*vars(QtCore).values(), *vars(QtWidgets).values()):
        meta = getattr(cls, "staticMetaObject", None)
        if isinstance(meta, QtCore.QMetaObject):
            names |= {meta.property(number).name() for number in range(meta.propertyCount())}
    return names


@pytest.mark.parametrize("path", PANEL, ids=lambda p: p.name)
def test_no_property_is_called_on_what_a_qt_method_returns(path: Path) -> None:
    """The stand-ins cannot refuse it there, such as in table.selectionModel().hasSelection()."""
    for call in calls(ast.parse(path.read_text(encoding="utf-8"))):
        func = call.func
        if isinstance(func, ast.Attribute) and isinstance(func.value, ast.Call):
            text = words(func.value).startswith("_(")  # a translated text, and its format()
            settings = words(func.value) == "qt.QSettings()"  # whose value() is a method
            assert text or settings or func.attr not in every_property(), words(func)


@pytest.mark.parametrize("path", PANEL, ids=lambda p: p.name)
def test_what_the_code_asks_of_a_widget_is_in_the_facts(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    called = {id(call.func) for call in calls(tree)}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute)):
            continue
        owner = node.value
        if not (isinstance(owner.value, (ast.Name, ast.Attribute)) and words(owner.value) in ("ui", "self.ui")):
            continue
        cls = WIDGETS[owner.attr].get("class")
        if id(node) in called:
            assert node.attr in facts.methods(cls) | HABITS, f"{owner.attr} ({cls}) has no method {node.attr}"
        else:
            assert node.attr in facts.properties(cls), f"{owner.attr} ({cls}) has no property {node.attr}"


@pytest.mark.parametrize("path", PANEL, ids=lambda p: p.name)
def test_signals_that_are_connected_exist(path: Path) -> None:
    for call in calls(ast.parse(path.read_text(encoding="utf-8"))):
        spoken = re.fullmatch(r"(?:self\.)?ui\.(\w+)\.connect", words(call.func))
        if spoken:
            assert call.args[0].value in facts.signals(WIDGETS[spoken.group(1)].get("class"))


@pytest.mark.parametrize("path", [p for p in PANEL if p.name != "Widgets.py"], ids=lambda p: p.name)
def test_every_text_goes_through_translation(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    translated = {id(arg) for call in calls(tree) if words(call.func) in ("_", "_field") for arg in call.args}
    docs = {
        id(n.body[0].value)
        for n in ast.walk(tree)
        if hasattr(n, "body") and isinstance(n.body, list) and n.body and isinstance(n.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in translated | docs:
            sentence = re.fullmatch(r"[A-Z][a-z]+( \w+)+.*[.!?]", node.value)
            assert not sentence or "logging" in path.read_text(encoding="utf-8"), f"not translated: {node.value}"


def test_the_facts_name_their_source() -> None:
    for name, fact in facts.facts().items():
        assert fact["header"].endswith(f"{name}.h")


def test_qt_signatures_are_compared_as_qt_does() -> None:
    assert facts.normalised("currentPathChanged(const QString& path)") == "currentPathChanged(QString)"
    assert facts.normalised("setMRMLScene(vtkMRMLScene* newScene)") == "setMRMLScene(vtkMRMLScene*)"
    assert facts.normalised("undo()") == "undo()"
    assert bytes(QtCore.QMetaObject.normalizedSignature("f(const QString &, int)")).decode() == facts.normalised(
        "f(const QString& a, int b = 3)"
    )
