"""The price list for people: a model by any of its names, its rates on a day, and their history."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from claudetrace._pricing._ids import read_id
from claudetrace._pricing._rates import book, in_force

if TYPE_CHECKING:
    from collections.abc import Mapping

NEAREST = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A model of the price list. Prices are decimal strings, US dollars for a million tokens."""

    id: str
    name: str
    status: str
    retired_on: str | None
    aliases: tuple[str, ...]
    bedrock_id: str | None
    vertex_id: str | None
    context_window: int | None
    tokenizer: str | None
    us_premium: bool
    regional_premium: bool
    periods: tuple[Mapping[str, Any], ...]
    fast: tuple[Mapping[str, Any], ...]
    sources: tuple[tuple[str, str], ...]
    """Each source's name with what it is."""
    note: str | None
    disagreement: str | None
    verification: str | None

    def on(self, day: str) -> Mapping[str, Any] | None:
        """The prices in force on `day`."""
        return in_force(self.periods, day)

    def fast_on(self, day: str) -> Mapping[str, Any] | None:
        """The fast prices in force on `day`."""
        return in_force(self.fast, day)


def listed_models() -> list[Listed]:
    """All models, the newest first."""
    rows = sorted(book().models.values(), key=lambda row: row["released"] or "", reverse=True)
    return [listed_of(row, book().sources) for row in rows]


def find_listed(name: str) -> Listed | None:
    """The model that `name` means: an id as users write it, with a date, or as a cloud spells it."""
    model = read_id(name.strip(), book().ids).model
    return None if model is None else listed_of(book().models[model], book().sources)


def same_model(one: str | None, other: str | None) -> bool:
    """Whether two ids mean the same model: equal, or other names of one that is listed."""
    if one == other:
        return True
    known = book().ids
    model = read_id(one, known).model
    return model is not None and model == read_id(other, known).model


def nearest_names(name: str) -> list[str]:
    """The known names that are most like `name`."""
    known = [each for each in book().ids if not each.startswith("anthropic.")]
    bare = name.strip().lower().rpartition("anthropic.")[2]
    # Names that contain it come first, newest first: `haiku` means a model of today.
    holding = [each for each in reversed(known) if bare and bare in each]
    return list(dict.fromkeys([*holding, *get_close_matches(bare, known, n=NEAREST, cutoff=0.4)]))[:NEAREST]


def unknown_name(name: str) -> str:
    """The message for a name without known rates."""
    near = nearest_names(name)
    hint = f"; the nearest known names are {', '.join(near)}" if near else "; `claudetrace prices` lists all models"
    return f"no rates are known for {name!r}{hint}"


def list_rules() -> Mapping[str, str]:
    """The prices and factors that hold for all models."""
    rules = book().rules
    return {
        "batch": rules["batch_multiplier"],
        "inference_geo_us": rules["inference_geo_us_multiplier"],
        "cloud_regional": rules["cloud_regional_multiplier"],
        "aws_govcloud": str(float(book().govcloud_factor)),
        "web_search_usd": rules["web_search_usd_per_request"],
        "session_hour_usd": rules["managed_agents_usd_per_session_hour"],
        "unbilled_refusals_from": rules["refusal_before_output_unbilled_from"],
    }


def listed_of(row: Mapping[str, Any], sources: Mapping[str, str]) -> Listed:
    """The model of one entry of a price list that has these sources."""
    same: dict[str, Any] = {name: row[name] for name in _AS_IT_IS}
    same |= {name: tuple(row[name]) for name in ("aliases", "periods", "fast")}
    return Listed(
        **same,
        us_premium=bool(row["supports_inference_geo"]),
        regional_premium=bool(row["cloud_regional_premium_1_1"]),
        sources=tuple((name, sources.get(name, "")) for name in row["sources"]),
    )


_AS_IT_IS = (
    *("id", "name", "status", "retired_on", "bedrock_id", "vertex_id", "context_window", "tokenizer"),
    *("note", "disagreement", "verification"),
)
