"""The files around the module, as Slicer's build and extension catalogue want them. Read as text; no Slicer needed."""

import ast
import json
import re
import struct
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from Testing import list_module_files

ROOT = Path(__file__).parents[1]
MODULE = ROOT / "PancreasSeg"
FILE_SCOPE = set(sys.stdlib_module_names) | {"slicer", "vtk", "qt", "ctk", "SimpleITK", "numpy", "scipy"}
MAX_CHECKOUT_BYTES = 100_000_000


def cmake(path: Path) -> str:
    """A CMakeLists.txt without its comments."""
    return re.sub(r"#.*", "", path.read_text(encoding="utf-8"))


def words(text: str, variable: str) -> list[str]:
    """What ``set(variable ...)`` sets, as a list."""
    block = re.search(rf"\bset\(\s*{variable}\b(.*?)\n?\s*\)", text, re.DOTALL)
    assert block, f"{variable} is not set"
    return [quoted or bare for quoted, bare in re.findall(r'"([^"]*)"|([^\s"]+)', block.group(1))]


TOP = cmake(ROOT / "CMakeLists.txt")
INNER = cmake(MODULE / "CMakeLists.txt").replace("${MODULE_NAME}", "PancreasSeg")


@pytest.mark.parametrize(
    ("variable", "there"),
    [
        ("MODULE_PYTHON_SCRIPTS", list_module_files.scripts()),
        ("MODULE_PYTHON_RESOURCES", list_module_files.resources()),
    ],
)
def test_every_file_of_the_module_is_listed_once(variable, there) -> None:
    listed = words(INNER, variable)
    assert sorted(listed) == sorted(there), "run: python -m Testing.list_module_files"


def test_the_module_is_built_and_tested_as_scripted_modules_are() -> None:
    assert re.search(r"slicerMacroBuildScriptedModule\(.*WITH_GENERIC_TESTS", INNER, re.DOTALL)
    assert re.search(r"slicer_add_python_unittest\(SCRIPT PancreasSeg\.py\)", INNER)


def test_the_top_level_names_what_the_catalogue_asks_for() -> None:
    assert "cmake_minimum_required(VERSION 3.28.0...3.28.0 FATAL_ERROR)" in TOP
    assert re.search(r"\bproject\(PancreasSeg\)", TOP)
    assert words(TOP, "EXTENSION_DEPENDS") == ["PyTorch"]
    for variable in ("EXTENSION_CONTRIBUTORS", "EXTENSION_DESCRIPTION"):
        assert len(words(TOP, variable)) == 1
    for variable in ("EXTENSION_HOMEPAGE", "EXTENSION_ICONURL", "EXTENSION_SCREENSHOTURLS"):
        assert all(url.startswith("https://") for url in words(TOP, variable))
    assert "EXTENSION_CATEGORY" not in TOP, "the category belongs into the catalogue entry"
    assert "add_subdirectory(PancreasSeg)" in TOP
    order = ["find_package(Slicer REQUIRED)", "${Slicer_USE_FILE}", "${Slicer_EXTENSION_GENERATE_CONFIG}"]
    places = [TOP.index(part) for part in [*order, "${Slicer_EXTENSION_CPACK}"]]
    assert places == sorted(places)


def test_the_repository_is_named_as_the_catalogue_wants_and_every_address_is_in_it() -> None:
    home = words(TOP, "EXTENSION_HOMEPAGE")[0]
    owner, name = home.removeprefix("https://github.com/").split("/")
    assert name == "SlicerPancreasSeg", "the catalogue refuses names that do not begin with Slicer"
    raw = f"https://raw.githubusercontent.com/{owner}/{name}/main/"
    for variable in ("EXTENSION_ICONURL", "EXTENSION_SCREENSHOTURLS"):
        for url in words(TOP, variable):
            assert url.startswith(raw)
            assert (ROOT / url.removeprefix(raw)).is_file()


def test_the_readme_has_a_sentence_for_every_module() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    modules = readme.partition("\n## Modules\n")[2].partition("\n## ")[0]
    assert "**PancreasSeg**" in modules
    assert "torch" in modules, "and says why the engine imports it at file scope"


@pytest.mark.parametrize(
    "path", [ROOT / "Testing/run_in_slicer.py", *sorted((MODULE / "pancreasseg").rglob("__main__.py"))], ids=str
)
def test_files_that_are_run_do_nothing_when_they_are_imported(path) -> None:
    last = ast.parse(path.read_text(encoding="utf-8")).body
    loose = [node for node in last if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant)]
    assert [ast.unparse(node) for node in loose] == []


@pytest.mark.parametrize("path", [ROOT / "PancreasSeg.png", MODULE / "Resources/Icons/PancreasSeg.png"], ids=str)
def test_icons_are_128_pixels_square(path) -> None:
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", header[16:24]) == (128, 128)


def test_the_module_file_imports_only_what_slicer_brings_and_does_nothing_else() -> None:
    tree = ast.parse((MODULE / "PancreasSeg.py").read_text(encoding="utf-8"))
    imported = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.split(".")[0])
        else:
            doc = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            constant = isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            assert doc or constant or isinstance(node, ast.ClassDef), ast.unparse(node)
    assert imported <= FILE_SCOPE
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    assert classes >= {"PancreasSeg", "PancreasSegWidget", "PancreasSegLogic", "PancreasSegTest"}


def test_the_panel_knows_every_widget_it_speaks_of() -> None:
    trees = [ElementTree.parse(path) for path in (MODULE / "Resources/UI").glob("*.ui")]  # noqa: S314 - our own files
    names = {widget.get("name") for tree in trees for widget in tree.iter("widget")}
    sources = [MODULE / "PancreasSeg.py", *(MODULE / "PancreasSegLib").rglob("*.py")]
    used = {name for source in sources for name in re.findall(r"\bui\.(\w+)", source.read_text(encoding="utf-8"))}
    assert used
    assert used <= names


def test_slicers_start_up_loads_neither_torch_nor_simpleitk() -> None:
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    code = (
        "import sys, PancreasSegLib.Work.Workflow, pancreasseg.worker.client\n"
        "sys.exit(' '.join(sorted({'torch', 'SimpleITK', 'skimage', 'scipy', 'matplotlib'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_the_licence_is_there() -> None:
    assert "Apache License" in (ROOT / "LICENSE.txt").read_text(encoding="utf-8")


def test_the_catalogue_entry_is_what_slicers_schema_asks_for() -> None:
    entry = json.loads((ROOT / "Resources" / "PancreasSeg.json").read_text(encoding="utf-8"))
    assert entry["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.1.json#")
    assert entry["build_dependencies"] == words(TOP, "EXTENSION_DEPENDS")
    assert entry["category"] == "Segmentation"
    assert entry["scm_url"] == words(TOP, "EXTENSION_HOMEPAGE")[0].partition("#")[0]
    known = {"$schema", "category", "scm_url", "scm_revision", "build_dependencies", "build_subdirectory", "tier"}
    assert set(entry) <= known, "the schema allows nothing else"
