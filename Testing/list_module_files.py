"""Writes into PancreasSeg/CMakeLists.txt which Python files and resources belong to the module.

    python -m Testing.list_module_files

Slicer's build installs what is listed there and nothing else; a test compares the lists with the folders.
"""

from __future__ import annotations

from pathlib import Path

MODULE = Path(__file__).resolve().parents[1] / "PancreasSeg"


def scripts() -> list[str]:
    """Every Python file of the module, relative to its folder."""
    return ["PancreasSeg.py", *_files("PancreasSegLib", "pancreasseg", python=True)]


def resources() -> list[str]:
    """Every other file that the module needs at run time."""
    return _files("Resources", "pancreasseg", python=False)


def _files(*folders: str, python: bool) -> list[str]:
    return [
        path.relative_to(MODULE).as_posix()
        for folder in folders
        for path in sorted((MODULE / folder).rglob("*"))
        if path.is_file()
        and "__pycache__" not in path.parts
        and path.suffix not in (".pyc", ".partial")
        and (path.suffix == ".py") is python
    ]


def main() -> None:
    """Write both lists."""
    file = MODULE / "CMakeLists.txt"
    text = file.read_text(encoding="utf-8")
    text = _replaced(text, "MODULE_PYTHON_SCRIPTS", ["${MODULE_NAME}.py", *scripts()[1:]])
    text = _replaced(text, "MODULE_PYTHON_RESOURCES", resources())
    file.write_text(text, encoding="utf-8")


def _replaced(text: str, variable: str, names: list[str]) -> str:
    head, found, tail = text.partition(f"set({variable}\n")
    if not found:
        raise SystemExit(f"PancreasSeg/CMakeLists.txt has no list {variable}")
    return head + found + "".join(f"  {name}\n" for name in names) + "  )" + tail.partition("\n  )")[2]


if __name__ == "__main__":
    main()
