"""Rooms lie on floors, and imports lead down alone: module -> PancreasSegLib -> engine, and so inside each of them."""

import ast
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from Testing.helpers.floors import ENGINE, SLICER_SIDE

MODULE = Path(__file__).parents[2] / "PancreasSeg"
SLICER = {"slicer", "qt", "ctk", "vtk", "vtkmodules", "PythonQt"}

#: What the Slicer side may take from the engine: nothing that computes, and nothing of the laboratory.
FOR_SLICER = {"core", "io", "measure", "models", "export", "pipelines", "phantom", "remote", "worker", ""}


@functools.cache
def modules(package: str) -> Mapping[str, ast.Module]:
    """The modules of a package by dotted name, parsed."""
    found = {}
    for path in sorted((MODULE / package).rglob("*.py")):
        parts = path.relative_to(MODULE).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports_of(tree: ast.AST) -> Iterator[str]:
    """Dotted names of all that a module imports, at its top, in a function, or for its types alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def module_of(name: str, known: Mapping[str, ast.Module]) -> str:
    """The module that a name belongs to: itself, or the one that it is imported from."""
    return name if name in known else name.rpartition(".")[0]


@functools.cache
def arrows(package: str) -> Mapping[str, frozenset[str]]:
    """For each module of a package those of the same package that it imports."""
    known = modules(package)
    return {
        name: frozenset({module_of(it, known) for it in imports_of(tree)} & set(known) - {name})
        for name, tree in known.items()
    }


def room_of(module: str, floors: tuple[tuple[str, ...], ...]) -> str:
    """The room that a module lies in; its own name where no floor has such a room."""
    inside = module.partition(".")[2]
    rooms = [room for floor in floors for room in floor if f"{inside}.".startswith(f"{room}.")]
    return max(rooms, key=len) if rooms else inside


@pytest.mark.parametrize(("package", "floors"), [("pancreasseg", ENGINE), ("PancreasSegLib", SLICER_SIDE)])
def test_every_import_leads_to_a_lower_floor(package: str, floors: tuple[tuple[str, ...], ...]) -> None:
    level = {room: number for number, floor in enumerate(floors) for room in floor}
    level |= {"": -1, "lab": -1}  # a package's own page names rooms and imports none
    wrong = set()
    for module, others in arrows(package).items():
        here = room_of(module, floors)
        assert here in level, f"{module} lies in no room: give its room a floor"
        for other in others:
            there = room_of(other, floors)
            if here != there and level[there] >= level[here]:
                wrong.add(f"{module} -> {other}")
    assert not wrong


@pytest.mark.parametrize("package", ["pancreasseg", "PancreasSegLib"])
def test_no_module_leads_back_to_itself(package: str) -> None:
    left = dict(arrows(package))
    while left:
        ends = {name for name, others in left.items() if not others & left.keys()}
        assert ends, f"these import each other: {sorted(left)}"
        left = {name: others for name, others in left.items() if name not in ends}


def test_every_room_on_a_floor_is_there() -> None:
    for package, floors in (("pancreasseg", ENGINE), ("PancreasSegLib", SLICER_SIDE)):
        used = {room_of(module, floors) for module in modules(package)}
        assert {room for floor in floors for room in floor} <= used


def test_only_the_command_line_knows_the_laboratory() -> None:
    for module, others in arrows("pancreasseg").items():
        if not module.startswith(("pancreasseg.lab", "pancreasseg.cli")):
            assert not [other for other in others if other.startswith("pancreasseg.lab")], module


@pytest.mark.parametrize("module", modules("pancreasseg"))
def test_engine_knows_nothing_of_slicer(module: str) -> None:
    outside = {name.partition(".")[0] for name in imports_of(modules("pancreasseg")[module])}
    assert not outside & (SLICER | {"PancreasSegLib", "PancreasSeg"})


@pytest.mark.parametrize("module", modules("PancreasSegLib"))
def test_slicer_side_knows_nothing_of_torch_and_takes_from_the_engine_what_it_may(module: str) -> None:
    names = set(imports_of(modules("PancreasSegLib")[module]))
    assert not {name.partition(".")[0] for name in names} & {"torch", "monai", "PancreasSeg"}
    engine = modules("pancreasseg")
    taken = {module_of(name, engine) for name in names if name.partition(".")[0] == "pancreasseg"}
    assert {room_of(name, ENGINE) for name in taken} <= FOR_SLICER
