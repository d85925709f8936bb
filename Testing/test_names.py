"""One name, one thing: no two classes of the product share a name."""

import ast
from collections import defaultdict
from pathlib import Path

PRODUCT = Path(__file__).parents[1] / "PancreasSeg"

#: "Case" is everybody's word: a CT of a batch (`pancreasseg.batch`), and one with its truth (`lab.cohorts`).
SHARED = {"Case"}


def test_no_public_class_has_the_name_of_another() -> None:
    homes = defaultdict(list)
    for path in sorted(PRODUCT.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(str(path.relative_to(PRODUCT)))
    assert len(homes) > 250
    assert {name: found for name, found in homes.items() if len(found) > 1 and name not in SHARED} == {}
    assert all(len(homes[name]) > 1 for name in SHARED), "one of them has another name now"
