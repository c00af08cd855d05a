"""Looks up the models of the price list by any of their names."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeAlias

from claudetrace._pricing._ids import read_id
from claudetrace._pricing._rates import book

if TYPE_CHECKING:
    from collections.abc import Mapping

Model: TypeAlias = "Mapping[str, Any]"
"""A model as the price list has it. Prices are decimal strings, US dollars for a million tokens."""
NEAREST = 4


def listed_models() -> list[Model]:
    """All models, the newest first."""
    return sorted(book().models.values(), key=lambda row: row["released"] or "", reverse=True)


def find_listed(name: str) -> Model | None:
    """The model that `name` means: an id as users write it, with a date, or in a cloud's spelling."""
    model = read_id(name.strip(), book().ids).model
    return None if model is None else book().models[model]


def same_model(one: str | None, other: str | None) -> bool:
    """Whether two ids mean the same model: they are equal, or names of the same listed one."""
    if one == other:
        return True
    known = book().ids
    model = read_id(one, known).model
    return model is not None and model == read_id(other, known).model


def unknown_name(name: str) -> str:
    """The message for a name without known rates, with the known names that are most like it."""
    known = [each for each in book().ids if not each.startswith("anthropic.")]
    bare = name.strip().lower().rpartition("anthropic.")[2]
    # Names that contain it come first, newest first: `haiku` means a model of today.
    holding = [each for each in reversed(known) if bare and bare in each]
    near = list(dict.fromkeys([*holding, *get_close_matches(bare, known, n=NEAREST, cutoff=0.4)]))[:NEAREST]
    hint = f"the nearest known names are {', '.join(near)}" if near else "`claudetrace prices` lists all models"
    return f"no rates are known for {name!r}; {hint}"
