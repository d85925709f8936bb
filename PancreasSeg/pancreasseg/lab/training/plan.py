"""What ``pancreasseg reproduce`` is to train: recipes, each with its folds and settings, as a JSON file says."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pancreasseg.core.errors import InputError
from pancreasseg.lab.training import recipes
from pancreasseg.lab.training.recipes import Recipe, parse_setting

_KEYS = {"folds", "settings"}


@dataclass(frozen=True)
class PlannedRecipe:
    """One recipe of a plan.

    Attributes:
        recipe: with its settings changed.
        folds: left out in turn.
        settings: what was changed, as ``path=value``.
    """

    recipe: Recipe
    folds: tuple[int, ...]
    settings: tuple[str, ...]


def tasks(
    names: Sequence[str], folds: Sequence[int], settings: Sequence[str], plan: Mapping[str, Any] | None = None
) -> tuple[PlannedRecipe, ...]:
    """What to train.

    Args:
        names: of the recipes.
        folds: for every recipe of which the plan says nothing else.
        settings: ``path=value`` for every recipe; those of the plan come after and win.
        plan: as `read_plan` gives it.

    Raises:
        InputError: there is no such recipe or setting.
    """
    chosen = []
    for name in names:
        own = (plan or {}).get(name, {})
        texts = (*settings, *(f"{path}={json.dumps(value)}" for path, value in own.get("settings", {}).items()))
        recipe = recipes.get(name).with_settings(dict(parse_setting(text) for text in texts))
        chosen.append(PlannedRecipe(recipe, tuple(dict.fromkeys(own.get("folds", folds))), texts))
    return tuple(chosen)


def read_plan(path: Path) -> dict[str, dict[str, Any]]:
    """Read a plan: ``{"<recipe>": {"folds": [1, 2], "settings": {"*.schedule.steps": 500}}}``; both may be missing.

    Raises:
        InputError: there is no such file, or it is not like that.
    """
    hint = 'A plan is like {"zhao2019": {"folds": [1, 2], "settings": {"*.schedule.steps": 500}}}.'
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError("no-plan", f"The plan {path} cannot be read.", hint) from error
    except ValueError as error:
        raise InputError("bad-plan", f"The plan {path} is not JSON.", hint) from error
    if not isinstance(plan, dict) or not all(_is_entry(entry) for entry in plan.values()):
        raise InputError("bad-plan", f"The plan {path} does not say folds and settings of recipes.", hint)
    for name in plan:
        recipes.get(name)
    return plan


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or not set(entry) <= _KEYS or not isinstance(entry.get("settings", {}), dict):
        return False
    folds = entry.get("folds", [1])
    return isinstance(folds, list) and bool(folds) and all(type(fold) is int for fold in folds)
