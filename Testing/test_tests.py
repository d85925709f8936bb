"""The tests' own order: what several of them need lies in Testing/helpers, and no test file imports another."""

import ast
from pathlib import Path

import pytest

TESTING = Path(__file__).parent
FILES = sorted(path for path in TESTING.rglob("test_*.py"))


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_test_file_imports_another_or_a_conftest(path: Path) -> None:
    stems = {file.stem for file in FILES} | {"conftest"}
    wrong = {name for name in imported(path) if name.startswith("Testing.") and name.split(".")[-1] in stems}
    assert not wrong, "what two test files need belongs into Testing/helpers"


@pytest.mark.parametrize("folder", ["engine", "scene", "panel"])
def test_folders_of_tests_hold_tests_alone(folder: str) -> None:
    """Their files are found by their bare names; a module imported from there would exist under two."""
    others = {path.name for path in (TESTING / folder).glob("*.py") if not path.name.startswith("test_")}
    assert others <= {"conftest.py"}
