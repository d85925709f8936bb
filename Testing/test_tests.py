"""The tests' own order: what several of them need lies in Testing/helpers, and no test file imports another."""

import ast
from pathlib import Path

import pytest

TESTING = Path(__file__).parent
FILES = sorted(path for path in TESTING.rglob("test_*.py"))

#: What no library offers otherwise.
LIBRARIES = {
    "os._exit",  # ends a process as a crash does
    "header._dict",  # pydicom's own way to hold a value that it would refuse
    "torch.cpu._is_amx_tile_supported",
    "torch.cpu._is_avx512_bf16_supported",
    "torchvision.models.detection._utils",
    "their_box_operations._assert_has_ops",  # torchvision's
}

#: What stand-ins keep for tests, under names that nothing of the panel would ask a true widget for.
STANDINS = {"_shortcuts", "_views", "_ids", "_made"}


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


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def reached_for(path: Path) -> set[str]:
    """The private names of others that a file uses: attributes, imports, and names in setattr and the like."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in STANDINS:
            found.add(ast.unparse(node))
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names if is_private(alias.name)}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("setattr", "getattr", "delattr")):
            texts = [it.value for it in node.args if isinstance(it, ast.Constant) and isinstance(it.value, str)]
            owner = ast.unparse(node.args[0])
            found |= {f"{owner}.{text}" for text in texts if is_private(text.rpartition(".")[2])}
    return {name for name in found if name.rpartition(".")[0] not in ("self", "cls", "super()")}


@pytest.mark.parametrize("path", sorted(TESTING.rglob("*.py")), ids=lambda path: path.stem)
def test_tests_use_what_is_public(path: Path) -> None:
    """What a test has to know of the inside is either behaviour that can be seen, or deserves a name."""
    assert reached_for(path) <= LIBRARIES
