"""Imports run one way: module -> PancreasSegLib -> engine, and only the engine's heavy rooms know torch."""

import ast
from pathlib import Path

import pytest

MODULE = Path(__file__).parents[2] / "PancreasSeg"
SLICER = {"slicer", "qt", "ctk", "vtk", "vtkmodules", "PythonQt"}


def imports_of(path: Path, *, file_scope_only: bool = False) -> set[str]:
    """Top-level names of the modules a file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if file_scope_only else ast.walk(tree)
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", sorted((MODULE / "pancreasseg").rglob("*.py")), ids=lambda p: p.name)
def test_engine_knows_nothing_of_slicer(path: Path) -> None:
    assert not imports_of(path) & (SLICER | {"PancreasSegLib", "PancreasSeg"})


@pytest.mark.parametrize("path", sorted((MODULE / "PancreasSegLib").rglob("*.py")), ids=lambda p: p.name)
def test_slicer_side_knows_nothing_of_torch(path: Path) -> None:
    assert not imports_of(path) & {"torch", "monai", "PancreasSeg"}
