"""Compares our rates with the price lists of genai-prices and litellm, for `claudetrace prices --check`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from claudetrace._pricing._ids import Model, listed_models, read_id
from claudetrace._pricing._rates import CLASSES, book, in_force

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Quotes: TypeAlias = "dict[str, Decimal]"
"""Dollars for a million tokens, by what they are for: `output`, `batch input`, `input above 100000`."""

GENAI_FIELDS = {name: f"{name}_mtok" for name in CLASSES} | {"cache_write_5m": "cache_write_mtok"}
GENAI_VARIANTS = {"batch ": {"processing": "batch"}, "fast ": {"speed": "fast"}}
LITELLM_FIELDS = {
    "input": "input_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_write_5m": "cache_creation_input_token_cost",
    "cache_write_1h": "cache_creation_input_token_cost_above_1hr",
    "output": "output_cost_per_token",
}
LITELLM_FILE = "model_prices_and_context_window_backup.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """A price that differs in `source`. Prices are dollars for a million tokens, as text."""

    source: str
    model: str
    what: str
    ours: str
    theirs: str
    day: str | None = None
    """The first day of the period, where it is not today's."""
    known: str | None = None
    """What the price list's own notes say of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """How a source compares; its `version` is `None` where it is not installed."""

    source: str
    version: str | None
    compared: int = 0
    """How many models."""
    differences: tuple[Disagreement, ...] = ()


def second_opinions(only: str | None = None) -> list[Opinion]:
    """The comparison with each source, of all models or of the one with the id `only`. Uses no network."""
    day = datetime.now(UTC).date().isoformat()
    models = [model for model in listed_models() if only is None or model["id"] == only]
    return [
        _opinion("genai-prices", "genai_prices", lambda: _from_genai(models, day), everything=only is None),
        _opinion("litellm", "litellm", lambda: _from_litellm(models, day), everything=only is None),
    ]


Compared: TypeAlias = "tuple[dict[str, list[Disagreement] | None], list[str]]"
"""The differences by model, `None` for a model that the source does not have; and the source's models that we lack."""


def _opinion(source: str, module: str, compare: Callable[[], Compared], *, everything: bool) -> Opinion:
    if find_spec(module) is None:
        return Opinion(source=source, version=None)
    try:
        installed = version(source)
    except PackageNotFoundError:
        installed = "of unknown version"
    by_model, unlisted = compare()
    found: list[Disagreement] = []
    for id_, differences in by_model.items():
        model = book().models[id_]
        if differences is not None:
            found += dict.fromkeys(differences)
        elif model["status"] != "retired":  # sources drop retired models
            found.append(_difference(source, model, "model", "listed", "not listed"))
    for name in unlisted if everything else ():
        found.append(Disagreement(source=source, model=name, what="model", ours="not listed", theirs="listed"))
    compared = sum(differences is not None for differences in by_model.values())
    return Opinion(source=source, version=installed, compared=compared, differences=tuple(found))


def _from_genai(models: list[Model], day: str) -> Compared:
    """Compares period by period: genai-prices dates some of its prices."""
    from genai_prices.data_snapshot import get_snapshot

    theirs = next(each for each in get_snapshot().providers if each.id == "anthropic").models
    found: dict[str, list[Disagreement] | None] = {}
    for model in models:
        match = next((each for each in theirs if each.is_match(model["id"])), None)
        differences: list[Disagreement] = []
        found[model["id"]] = None if match is None else differences
        for period in model["periods"] if match else ():
            current = period is in_force(model["periods"], day)
            first = day if current else period["from"]
            quotes, priced = _genai_quotes(match, first)
            ours = _quotes(period, in_force(model["fast"], first))
            ours = {what: price for what, price in ours.items() if what.startswith(priced)}
            differences += _differences("genai-prices", model, ours, quotes, None if current else first)
    return found, [each.id for each in theirs if not any(map(each.is_match, book().ids))]


def _genai_quotes(model: Any, day: str) -> tuple[Quotes, tuple[str, ...]]:
    """The prices of genai-prices on `day`, and the prefixes of the kinds of prices that it has."""
    at = datetime.fromisoformat(day).replace(hour=12, tzinfo=UTC)
    quotes = _genai_class_quotes("", model.get_prices(at))
    priced: tuple[str, ...] = CLASSES
    for before, when in GENAI_VARIANTS.items():
        variants = getattr(model, "price_variants", None) or ()
        if any(each.when == when and (each.constraint is None or each.constraint.active(at)) for each in variants):
            quotes |= _genai_class_quotes(before, model.get_prices(at, when))
            priced += (before,)
    return quotes, priced


def _genai_class_quotes(before: str, prices: Any) -> Quotes:
    quotes: Quotes = {}
    for name, field in GENAI_FIELDS.items():
        price = getattr(prices, field, None)
        if price is None:
            continue
        quotes[f"{before}{name}"] = Decimal(getattr(price, "base", price))
        for tier in getattr(price, "tiers", ()):
            quotes[f"{before}{name} above {tier.start}"] = Decimal(tier.price)
    return quotes


def _from_litellm(models: list[Model], day: str) -> Compared:
    """Compares today's prices alone: litellm keeps no history."""
    rows = _litellm_rows()
    found: dict[str, list[Disagreement] | None] = {}
    for model in models:
        named = [row for name, row in rows.items() if read_id(name, book().ids).model == model["id"]]
        ours = _quotes(in_force(model["periods"], day) or {}, in_force(model["fast"], day))
        # litellm has no prices for an hour's cache in a batch.
        covered = {name: price for name, price in ours.items() if not name.startswith("batch cache_write_1h")}
        told = [each for row in named for each in _differences("litellm", model, covered, _litellm_quotes(row), None)]
        found[model["id"]] = told if named else None
    return found, [name for name in rows if read_id(name, book().ids).model is None]


def _litellm_rows() -> dict[str, Mapping[str, Any]]:
    """The rows of the Claude API, read from its file: importing litellm takes seconds and asks the network."""
    spec = find_spec("litellm")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        file = Path(folder) / LITELLM_FILE
        if file.is_file():
            rows = json.loads(file.read_text(encoding="utf-8"), parse_float=Decimal)
            return {
                name: row
                for name, row in rows.items()
                if row.get("litellm_provider") == "anthropic" and "claude" in name
            }
    return {}


def _litellm_quotes(row: Mapping[str, Any]) -> Quotes:
    quotes: Quotes = {}
    for name, field in LITELLM_FIELDS.items():
        for key, price in row.items():
            if not isinstance(price, (Decimal, int)) or (what := _litellm_what(name, field, key)) is None:
                continue
            quotes[what] = Decimal(price) * 10**6
    fast = (row.get("provider_specific_entry") or {}).get("fast")
    if fast is not None:
        quotes |= {f"fast {name}": quotes[name] * Decimal(fast) for name in CLASSES if name in quotes}
    return quotes


def _litellm_what(name: str, field: str, key: str) -> str | None:
    """What the key of a row is the price of, if it is of the class that has `field`."""
    batch = "batch " if key.endswith("_batches") else ""
    rest = key.removesuffix("_batches").removeprefix(field)
    if not key.startswith(field):
        return None
    if not rest:
        return f"{batch}{name}"
    size = rest.removeprefix("_above_").removesuffix("k_tokens")
    return f"{batch}{name} above {size}000" if size.isdigit() else None


def _quotes(period: Mapping[str, Any], fast: Mapping[str, Any] | None = None) -> Quotes:
    """A period of ours, under the same names."""
    quotes = _class_quotes("", period) | _class_quotes("batch ", period.get("batch")) | _class_quotes("fast ", fast)
    for tier in period.get("tiers") or ():
        above = f" above {tier['prompt_tokens_above']}"
        quotes |= _class_quotes("", tier, above) | _class_quotes("batch ", tier.get("batch"), above)
    return quotes


def _class_quotes(before: str, prices: Mapping[str, Any] | None, after: str = "") -> Quotes:
    return {f"{before}{name}{after}": Decimal(prices[name]) for name in CLASSES} if prices else {}


def _differences(source: str, model: Model, ours: Quotes, theirs: Quotes, day: str | None) -> Iterator[Disagreement]:
    for what in dict.fromkeys([*ours, *theirs]):
        mine, other = (f"{each[what].normalize():f}" if what in each else "no price" for each in (ours, theirs))
        if ours.get(what) != theirs.get(what):
            yield _difference(source, model, what, mine, other, day)


def _difference(source: str, model: Model, what: str, ours: str, theirs: str, day: str | None = None) -> Disagreement:
    known = model["disagreement"]
    return Disagreement(source=source, model=model["id"], what=what, ours=ours, theirs=theirs, day=day, known=known)
