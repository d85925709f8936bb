"""What users of other extensions suffer from, held where no single room's tests would notice."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULE = ROOT / "PancreasSeg"
ENGINE = MODULE / "pancreasseg"
SLICER_SIDE = [MODULE / "PancreasSeg.py", *sorted((MODULE / "PancreasSegLib").rglob("*.py"))]
# What runs when a person clicks Segment; training may do as it likes.
RUNNING = [
    *SLICER_SIDE,
    ENGINE / "runs" / "run.py",
    *(
        path
        for room in ("inference", "networks", "pipelines", "worker", "io")
        for path in sorted((ENGINE / room).rglob("*.py"))
    ),
]


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> set[str]:
    """Everything that a file imports, by its full name, at whatever depth."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def names(node: ast.AST) -> set[str]:
    return {it.id for it in ast.walk(node) if isinstance(it, ast.Name)}


def test_nothing_in_the_product_depends_on_nnu_net() -> None:
    """Its versions exclude each other; other extensions bring their own. Tests have theirs in `Testing.originals`."""
    for text in (ROOT / "pyproject.toml", MODULE / "Resources" / "requirements.txt"):
        assert not re.search("nnunet|totalsegmentator|dynamic.network", text.read_text(encoding="utf-8").lower())
    for path in MODULE.rglob("*.py"):
        theirs = ("nnunet", "totalsegmentator", "dynamic_network_architectures", "batchgenerators", "acvl_utils")
        assert not any(name.startswith(theirs) for name in imports(path)), path


@pytest.mark.parametrize("path", RUNNING, ids=lambda path: str(path.relative_to(MODULE)))
def test_a_run_is_one_process_without_pools_of_others(path: Path) -> None:
    """Pools of workers exhaust memory, and die in ways nobody understands."""
    pools = re.compile(
        r"(multiprocessing|joblib|torch\.multiprocessing)\b|concurrent\.futures\.ProcessPool|.*\.DataLoader$"
    )
    assert not [name for name in imports(path) if pools.match(name)]
    keywords = {keyword.arg for node in ast.walk(tree(path)) if isinstance(node, ast.Call) for keyword in node.keywords}
    assert not keywords & {"num_workers", "n_jobs"}


def threads(module: ast.Module) -> Iterator[ast.Call]:
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("threading.Thread", "Thread", "qt.QThread"):
            yield node


@pytest.mark.parametrize("path", SLICER_SIDE, ids=lambda path: path.name)
def test_threads_of_the_slicer_side_touch_neither_qt_nor_the_scene(path: Path) -> None:
    """Slicer 5.12 crashes where they do."""
    module = tree(path)
    functions = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef)}
    for thread in threads(module):
        (target,) = [keyword.value for keyword in thread.keywords if keyword.arg == "target"]
        assert isinstance(target, ast.Name), "a function of the file, which can be read here"
        assert not names(functions[target.id]) & {"qt", "ctk", "slicer", "vtk", "self"}
    assert not {name for name in imports(path) if name.startswith(("concurrent.", "asyncio"))}


@pytest.mark.parametrize("path", sorted((ENGINE / "worker").glob("*.py")), ids=lambda path: path.name)
def test_no_nifti_goes_between_the_processes(path: Path) -> None:
    """Its direction cosines are rounded, and readers refuse what is not orthonormal to their taste."""
    assert not [name for name in imports(path) if "nifti" in name.lower() or name.startswith("nibabel")]
