"""The published methods as recipes, by name."""

from __future__ import annotations

from pancreasseg.core.errors import InputError
from pancreasseg.lab.training.recipes.attention import OKTAY, OKTAY_MULTIHEAD
from pancreasseg.lab.training.recipes.hierarchical import ROTH
from pancreasseg.lab.training.recipes.mask_rcnn import DOGAN
from pancreasseg.lab.training.recipes.recipe import Recipe, parse_setting
from pancreasseg.lab.training.recipes.single import UNET_SINGLE
from pancreasseg.lab.training.recipes.two_stage import BEST, ZHAO

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe for recipe in (ZHAO, DOGAN, OKTAY, OKTAY_MULTIHEAD, ROTH, UNET_SINGLE, BEST)
}
NAMES = tuple(RECIPES)


def get(name: str) -> Recipe:
    """The recipe of this name.

    Raises:
        InputError: there is none.
    """
    if name not in RECIPES:
        raise InputError(
            "unknown-recipe", f"There is no recipe called {name!r}.", f"There are {', '.join(NAMES)} (train --list)."
        )
    return RECIPES[name]


__all__ = ["NAMES", "RECIPES", "Recipe", "get", "parse_setting"]
