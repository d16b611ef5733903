"""The recipes by name. A new one is one file and one line here."""

from __future__ import annotations

from difflib import get_close_matches

from environments.ports import Recipe, UserError
from environments.recipes.api_gateway import ApiGateway
from environments.recipes.image import Image
from environments.recipes.mysql import MySQL
from environments.recipes.postgres import Postgres
from environments.recipes.temporal import Temporal
from environments.recipes.valkey import Redis, Valkey

_ALL: tuple[Recipe, ...] = (Postgres(), Valkey(), Redis(), Temporal(), ApiGateway(), MySQL(), Image())
RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _ALL}


def recipe_for(name: str) -> Recipe:
    """Raises UserError(recipe_unknown) with the nearest name."""
    if name in RECIPES:
        return RECIPES[name]
    near = get_close_matches(name, RECIPES, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    raise UserError("recipe_unknown", f"There is no recipe {name!r}.", f"{hint}There are {', '.join(sorted(RECIPES))}.")
