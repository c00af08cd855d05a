"""Checks own rates key by key, and finds the line of the file that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

from claudetrace._pricing._rates import CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable

_DAYS = ("from", "to")
_RATES_KEYS = {"discount", "discounts", "models", *_DAYS}
_DISCOUNT_KEYS = {"discount", *_DAYS}
_MODEL_KEYS = {"discount", "batch", "fast", *CLASSES, *_DAYS}
_PRICE = (10**9, "a price in dollars for a million tokens; give 0 or more")
_SHARE = (1, "a share of the price; give 0 to 1, as 0.15 for 15 % off")
"""The most that each may be, and what to say of other numbers."""


class Refused(Exception):  # noqa: N818 - never leaves this room: `load_own_rates` makes an error of it
    """Own rates that cannot be used: where, and why."""

    def __init__(self, keys: tuple[str, ...], reason: str) -> None:
        super().__init__(keys, reason)
        self.keys = keys
        self.reason = reason


Period: TypeAlias = "dict[str, Any]"
"""A discount, or prices by class, from one day until before another: in plain JSON types, as `in_force` takes it."""

Checked: TypeAlias = "tuple[list[Period], dict[str, list[Period]], dict[str, str]]"
"""Discounts on the whole list, the periods of each model, and the models that are priced like another."""


def checked_rates(source: Any, model_of: Callable[[str], str]) -> Checked:
    """The own rates in `source`. Raises `Refused` at the first that cannot be used."""
    liked = _liked(source)
    _known_keys(source, _RATES_KEYS | liked.keys(), ())
    listed = source.get("discounts", [])
    if not isinstance(listed, list):
        raise Refused(("discounts",), "must be a list of tables, as [[rates.discounts]]")
    discounts = [_discount(table, ("discounts", str(place))) for place, table in enumerate(listed)]
    if "discount" in source:
        discounts.append(_discount({name: source[name] for name in _DISCOUNT_KEYS if name in source}, ()))
    elif any(name in source for name in _DAYS):
        raise Refused((), "a day without a `discount`; add one, or remove the day")
    models: dict[str, list[Period]] = {}
    named = source.get("models", {})
    if not isinstance(named, Mapping):
        raise Refused(("models",), "must be a table with a model's id for each key")
    for name, said in named.items():
        keys = ("models", str(name))
        tables = (
            {(*keys, str(place)): each for place, each in enumerate(said)} if isinstance(said, list) else {keys: said}
        )
        model = model_of(str(name))
        if model in models:
            raise Refused(keys, f"{model} has own prices under two names; keep one")
        models[model] = _in_order([_model_period(table, place) for place, table in tables.items()], keys)
    likes = {model_of(name): model_of(_like(table, (name,))) for name, table in liked.items()}
    for model in likes.keys() & models.keys():
        raise Refused((model,), "has prices of its own too; keep one")
    return _in_order(discounts, ("discounts",)), models, likes


def _liked(source: Any) -> dict[str, Any]:
    """The tables that price a model like another one, as `"claude-new-1" = { like = "claude-old-1" }`."""
    if not isinstance(source, Mapping):
        return {}
    return {
        str(name): table
        for name, table in source.items()
        if name not in _RATES_KEYS and isinstance(table, Mapping) and "like" in table
    }


def _like(table: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    _known_keys(table, {"like"}, keys)
    if not isinstance(table["like"], str) or not table["like"]:
        raise Refused((*keys, "like"), f"{table['like']!r} is not the id of a model")
    return table["like"]


def _known_keys(table: Any, known: set[str], keys: tuple[str, ...]) -> None:
    if not isinstance(table, Mapping):
        raise Refused(keys, f"must be a table, not {table!r}")
    for name in table:
        if name not in known:
            raise Refused((*keys, str(name)), f"is not known; known are {', '.join(sorted(known))}")


def _discount(table: Any, keys: tuple[str, ...]) -> Period:
    _known_keys(table, _DISCOUNT_KEYS, keys)
    if "discount" not in table:
        raise Refused(keys, "has no `discount`")
    return {**_days(table, keys), "discount": _number(table["discount"], (*keys, "discount"), *_SHARE)}


def _model_period(table: Any, keys: tuple[str, ...]) -> Period:
    _known_keys(table, _MODEL_KEYS, keys)
    priced = [name for name in (*CLASSES, "batch", "fast") if name in table]
    if "discount" in table:
        if priced:
            raise Refused((*keys, "discount"), f"cannot stand beside `{priced[0]}`: discount the list, or price")
        return _discount(table, keys)
    others = {name: _prices(table[name], (*keys, name)) for name in ("batch", "fast") if name in table}
    prices = {name: table[name] for name in CLASSES if name in table}
    return {**_days(table, keys), **_prices(prices, keys), **others}


def _prices(table: Any, keys: tuple[str, ...]) -> dict[str, str]:
    _known_keys(table, set(CLASSES), keys)
    missing = [name for name in CLASSES if name not in table]
    if missing:
        raise Refused(keys, f"has no `{missing[0]}`; a price needs all of {', '.join(CLASSES)}")
    return {name: _number(table[name], (*keys, name), *_PRICE) for name in CLASSES}


def _number(value: Any, keys: tuple[str, ...], most: int, what: str) -> str:
    """`value` as decimal text, from 0 to `most`."""
    number = Decimal("NaN")
    if isinstance(value, int | float | str | Decimal) and not isinstance(value, bool):
        with suppress(InvalidOperation):
            # By its text, so that the float 0.1 is a tenth.
            number = Decimal(str(value))
    if not number.is_finite() or abs(number.adjusted()) > 18 or len(number.as_tuple().digits) > 27:
        raise Refused(keys, f"{value!r} is not a number")
    if not 0 <= number <= most:
        raise Refused(keys, f"{value} is not {what}")
    return format(abs(number).normalize(), "f")


def _days(table: Mapping[str, Any], keys: tuple[str, ...]) -> Period:
    days = {name: _day(table[name], (*keys, name)) for name in _DAYS if table.get(name) is not None}
    if len(days) == 2 and days["to"] <= days["from"]:
        raise Refused((*keys, "to"), f"{days['to']} is not after `from`, {days['from']}")
    return days


def _day(value: Any, keys: tuple[str, ...]) -> str:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    try:
        return datetime.strptime(value, "%Y-%m-%d").date().isoformat()
    except (TypeError, ValueError):
        raise Refused(keys, f"{value!r} is not a day; give one as 2026-11-21, UTC") from None


def _in_order(periods: list[Period], keys: tuple[str, ...]) -> list[Period]:
    ordered = sorted(periods, key=lambda period: period.get("from", ""))
    for earlier, later in pairwise(ordered):
        end = earlier.get("to")
        if end is None or end > later.get("from", ""):
            first, second = (period.get("from", "the beginning") for period in (earlier, later))
            until = f"until {end}" if end else "without an end"
            raise Refused(keys, f"the prices from {second} overlap those from {first} {until}")
    return ordered


def line_of(text: str, keys: tuple[str, ...]) -> int | None:
    """The line of the TOML file `text` that says most of `keys`, counted from 1."""
    import tomllib

    in_table = "rates" in tomllib.loads(text)
    best, line, begun = -1, None, 1
    lines = text.split("\n")
    for number in range(1, len(lines) + 1):
        try:
            said = tomllib.loads("\n".join([*lines[:number], ""]))
        except tomllib.TOMLDecodeError:
            continue  # in the middle of a value
        depth = _depth(said.get("rates") if in_table else said or None, keys)
        if depth > best:
            best, line = depth, begun
        begun = number + 1
    return line


def _depth(said: Any, keys: tuple[str, ...]) -> int:
    """How many of `keys` lead into `said`; -1 where nothing is said yet."""
    if said is None:
        return -1
    for depth, key in enumerate(keys):
        if isinstance(said, list):
            said = {str(place): each for place, each in enumerate(said)}
        if not isinstance(said, dict) or key not in said:
            return depth
        said = said[key]
    return len(keys)
